internal import FuzzSupport

// Whatever a damaged or forged engine holds must end in values or in an error: each row by itself, and a state machine
// that is started on such rows, asked, and made to go on.
Fuzzer.run([row, state] + rows)
