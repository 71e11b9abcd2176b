internal import FuzzSupport

// Whatever a snapshot file or a sender brings must end in rows that a snapshot may hold or in a `SnapshotError`, never
// in a trap, and in no more memory than a chunk may have.
Fuzzer.run([file, manifest, members, stored, chunks, packed])
