"""edgeseq: which text model fits a small device, measured on that device.

This package is the contract that the two halves share (`edgeseq_converters` on the workstation,
`edgeseq_benchmarks` on the device) and the command line. Importing it loads neither half.
"""

__version__ = "0.1.0"
