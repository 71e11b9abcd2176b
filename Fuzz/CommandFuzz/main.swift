internal import FuzzSupport

// Whatever a client sends as a command or a query, and whatever stands in the log as one, must end in a reply, never in a
// trap and never in a state machine that stops: every node would stop at the same entry.
Fuzzer.run([command, housekeeping, program, query] + registry)
