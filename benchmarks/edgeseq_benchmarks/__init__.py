"""The device half: loads bundles through a TFLite runtime and measures them.

    runtimes, texts      a model and its tokenizer, as an application would use them
    protocol, worker     the measured process and the language it speaks with its parent
    children             the parent's side: start, ask, wait without using the processor, end
    verify, checks,
    sandbox              the check before every run, in a process that may die of it
    timing, memory       what the measured process observes of itself
    machine, validity,
    optional_findings        what the machine did meanwhile, and what that means for the numbers
    limits, user_limits,
    boards, own_files,
    limited, curve       the model inside hard limits
    energy               energy readers behind one seam
    operators,
    litert_profiler      where its time goes, operator by operator
    bench, predict       the two things that the command line asks for

Importing the package loads no runtime; only the measured process does.
"""
