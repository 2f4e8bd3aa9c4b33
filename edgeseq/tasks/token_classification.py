"""A label per word: tags of any kind, parts of speech, and entities as BIO tags."""

from edgeseq.tasks.examples import TaggedExample
from edgeseq.tasks.task import Task

TOKEN_CLASSIFICATION = Task(
    name="token-classification", title=None, head="token-classification", example=TaggedExample
)
POS = Task(
    name="pos",
    title="part-of-speech tagging",
    head="token-classification",
    example=TaggedExample,
)
NER = Task(
    name="ner",
    title="named entities",
    head="token-classification",
    example=TaggedExample,
    metric="edgeseq.tasks.entity_f1:ENTITY_F1",
    bio_labels=True,
)
