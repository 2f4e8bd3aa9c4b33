"""What `import edgeseq` offers, one file per verb or noun; a half is imported when it is used."""
