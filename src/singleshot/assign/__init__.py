"""From the truth to what each default box learns."""
