"""The deployment report: result records in; a page, Markdown with pictures and a summary out."""
