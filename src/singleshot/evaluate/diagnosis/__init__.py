"""Why a detector is as good as it is: Hoiem, Chodpathumwan and Dai, Diagnosing Error in Object Detectors (2012)."""
