"""A label per text: the task of a user's own table, and the built-in one."""

from edgeseq.tasks.task import Task

TEXT_CLASSIFICATION = Task(name="text-classification", title=None)
SENTIMENT = Task(name="sentiment", title="sentiment of short customer feedback")
