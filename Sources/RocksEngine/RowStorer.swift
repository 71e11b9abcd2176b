internal import CRocksDB
internal import Dispatch
internal import Glibc
internal import StateEngine
internal import Synchronization

/// Makes rows from memory table files of the database, on a thread of its own, in the order in which they were handed over.
final class RowStorer: Sendable {
    /// Rows on their way into a file.
    final class Job: Sendable {
        let rows: RecentRows
        private let group = DispatchGroup()

        fileprivate init(_ rows: RecentRows) {
            self.rows = rows
            group.enter()
        }

        /// Stored, or never to be.
        var isDone: Bool { group.wait(timeout: .now()) == .success }

        func wait() { group.wait() }

        fileprivate func end() { group.leave() }
    }

    private let database: RocksDatabase
    /// RocksDB takes no notice of a file of this name. A crash may leave it; the next one takes its place.
    private let path: String
    private let queue = DispatchQueue(label: "row-storer")
    private let failure = Mutex<EngineError?>(nil)

    init(_ database: RocksDatabase, directory: String) {
        self.database = database
        path = "\(directory)/rows-to-be-taken"
    }

    func begin(_ rows: RecentRows) -> Job {
        let job = Job(rows)
        queue.async { [self] in
            // What comes later must not be there without what is before it.
            if failure.withLock({ $0 == nil }) {
                do throws(EngineError) { try store(rows) } catch {
                    unlink(path)
                    failure.withLock { $0 = error }
                }
            }
            job.end()
        }
        return job
    }

    /// Returns when everything that was begun is done.
    func wait() { queue.sync {} }

    func checkFailure() throws(EngineError) {
        if let error = failure.withLock({ $0 }) { throw error }
    }

    /// Many rows take their time to be freed, which nobody has to wait for.
    func release(_ job: Job) { queue.async { withExtendedLifetime(job) {} } }

    /// What was handed over before is in files by now, so these say what a range delete has to delete. Range deletes
    /// themselves are kept out of the files: `ReadOptionsHandle` says why.
    private func store(_ rows: RecentRows) throws(EngineError) {
        try awaitCompaction()
        let file = try TableFileHandle(path, database.options)
        var isEmpty = true
        try rows.makeSame(
            RocksFiles(database),
            put: { (key, value) throws(EngineError) in
                isEmpty = false
                try file.put(key, value)
            },
            delete: { (key) throws(EngineError) in
                isEmpty = false
                try file.delete(key)
            })
        // A range delete found nothing, and RocksDB refuses a file of nothing.
        guard !isEmpty else {
            unlink(path)
            return
        }
        try file.finish()
        let options = IngestOptionsHandle()
        rocksdb_ingestexternalfileoptions_set_move_files(options.handle, 1)
        let optionsHandle = options.handle
        try path.utf8CString.withUnsafeBufferPointer { (path) throws(EngineError) in
            var path = path.baseAddress
            try ErrorText.check { rocksdb_ingest_external_file(database.handle, &path, 1, optionsHandle, $0) }
        }
    }

    /// A read looks into each file of level 0, so these must not get many while compaction is behind; RocksDB would slow
    /// its own writes down, but takes any number of files.
    private func awaitCompaction() throws(EngineError) {
        while true {
            let count = database.textProperty("rocksdb.num-files-at-level0")
            guard count >= Self.filesMax else { return }
            if database.isCompacting {
                usleep(5_000)
            } else {
                // After an error it stops until the next start.
                guard database.property("rocksdb.background-errors") > 0 else { return }
                throw .io("RocksDB has given up to compact the rows, and \(count) files of them wait")
            }
        }
    }

    private static let filesMax = 40
}

extension RocksDatabase {
    fileprivate var isCompacting: Bool {
        property("rocksdb.num-running-compactions") > 0 || property("rocksdb.compaction-pending") > 0
    }
}
