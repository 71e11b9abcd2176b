internal import FuzzSupport

// Text that a person or a script wrote and the command reads: it must end in what it means or in a message, never in a
// trap. The sources of the command that read it stand here too, as links.
Fuzzer.run([transaction, importLine, configuration, setting, address])
