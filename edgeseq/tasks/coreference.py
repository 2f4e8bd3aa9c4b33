"""Which name a pronoun means: a label per text, in which the mentions are marked (`mentions`)."""

from edgeseq.tasks.task import Task

COREF = Task(name="coref", title="which name a pronoun means", metric="edgeseq.tasks.gap_f1:GAP_F1")
