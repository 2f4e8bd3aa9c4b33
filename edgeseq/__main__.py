"""`python -m edgeseq`: the same as the installed command."""

from edgeseq.cli import main

if __name__ == "__main__":
    main()
