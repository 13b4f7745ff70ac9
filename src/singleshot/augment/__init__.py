"""Random changes of images and boxes; `pipeline` combines them."""
