internal import Basics
internal import Disk
internal import LogStore
internal import ReplicaStorage

/// The small files of a data directory: what they must say a running node knows, so that one that rots is written anew.
enum KnownFiles {
    static func all(
        of identity: NodeIdentity, in directory: String, on fileSystem: any FileSystem
    ) -> [UncheckedBox<ScrubbedFile>] {
        [
            file(NodeIdentity.fileName, directory, fileSystem) {
                guard try NodeIdentity.load(from: directory, on: fileSystem) == identity else {
                    throw NodeFailure(message: "it is not this node's")
                }
            } restore: {
                try identity.store(in: directory, on: fileSystem)
            },
            file(PeerMemory.fileName, directory, fileSystem) {
                _ = try PeerMemory.load(from: directory, on: fileSystem)
            } restore: {
                // It is only a help, and is written again with the next news.
                try PeerMemory().store(in: directory, on: fileSystem)
            },
            file(AlarmMemory.fileName, directory, fileSystem) {
                _ = try AlarmMemory.load(from: directory, on: fileSystem)
            } restore: {
                // The alarm that this damage raises brings all that stand with it.
                try AlarmMemory.store([], in: directory, on: fileSystem)
            },
            file(ScrubSchedule.fileName, directory, fileSystem) {
                _ = try ScrubSchedule.load(from: directory, on: fileSystem)
            } restore: {
                try ScrubSchedule.store(.zero, in: directory, on: fileSystem)
            },
            file(RocksHome.fileName, directory, fileSystem) {
                try RocksHome(directory: directory, fileSystem: fileSystem).checkName()
            } restore: {
                try RocksHome(directory: directory, fileSystem: fileSystem).rewriteName()
            },
        ]
    }

    private static func file(
        _ name: String, _ directory: String, _ fileSystem: any FileSystem, check: @escaping () throws -> Void,
        restore: @escaping () throws -> Void
    ) -> UncheckedBox<ScrubbedFile> {
        let path = "\(directory)/\(name)"
        return UncheckedBox(
            ScrubbedFile(path: path) {
                do {
                    guard try fileSystem.exists(path) else { return (0, nil) }
                    let size = try fileSystem.open(path, .existing).size()
                    do {
                        try check()
                        return (size, nil)
                    } catch {
                        return (size, "\(error)")
                    }
                } catch {
                    return (0, "\(error)")
                }
            } restore: {
                (try? restore()) != nil
            })
    }
}
