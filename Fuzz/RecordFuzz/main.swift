internal import FuzzSupport

// Whatever a log file or a peer brings as records must end in values or in a `DecodeError`, never in a trap.
Fuzzer.run([records, slab, membership, founding, segments, promise])
