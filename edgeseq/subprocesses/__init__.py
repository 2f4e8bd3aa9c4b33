"""Child processes: the one room that starts them, talks to them and ends them.

`child_process` keeps a program for as long as it is needed, `command_runs` runs one to its end, and
`job_processes` runs a function of this toolkit: TensorFlow's memory goes back to the system before
anything is measured, a crash of native code ends one step and not the run, and Ctrl-C has one thing
to stop.

Each child is the leader of a process group: Ctrl-C in a terminal does not reach it, and what it
started is killed with it. Its stdin stays open for as long as this process lives, so that it can
end with it. Waiting blocks in poll(2), so nothing is spent while a child measures.
"""
