internal import FuzzSupport

// Whatever a socket brings must end in a value or in a `DecodeError`, never in a trap: above the checksum of a frame, as
// bytes off a connection, and below it, as the body of each kind of frame.
Fuzzer.run([connection] + requests + replies + results + messages)
