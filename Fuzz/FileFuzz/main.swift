internal import FuzzSupport

// The small files of a data directory, whole, with the checksum that they carry put right: they must end in a value that
// is written as it was read, or in an error.
Fuzzer.run([identity, peers, alarms])
