"""What a device lacks before it can measure, in words, and the command that mends it.

`examine` asks the device through the seam, `diagnose` only looks at the facts that came back.
"""

from edgeseq_benchmarks.devices.doctor.diagnose import Diagnosis, can_bench, diagnose
from edgeseq_benchmarks.devices.doctor.examine import examine
from edgeseq_benchmarks.devices.doctor.facts import Facts

__all__ = ["Diagnosis", "Facts", "can_bench", "diagnose", "examine"]
