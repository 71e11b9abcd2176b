internal import CRocksDB
internal import Glibc
internal import StateEngine

/// One open RocksDB directory. The engine and its views share it; it closes when the last of them ends, so a view never
/// reads a database that is gone.
///
/// `@unchecked Sendable`: the handle is set once, and RocksDB allows every call made through it here from any thread at
/// any time.
final class RocksDatabase: @unchecked Sendable {
    let handle: OpaquePointer
    let options: OptionsHandle

    init(directory: String, settings: RocksSettings) throws(EngineError) {
        try Self.createPrivateDirectory(directory)
        let options = Self.makeOptions(settings)
        let opened: OpaquePointer?
        do throws(EngineError) {
            opened = try ErrorText.check { rocksdb_open(options.handle, directory, $0) }
        } catch {
            throw error.metAtOpening(in: directory)
        }
        guard let opened else { throw .io("RocksDB gave no database for \(directory)") }
        handle = opened
        self.options = options
    }

    /// Opens what is there for reading; no file is written or locked.
    init(readingIn directory: String, settings: RocksSettings) throws(EngineError) {
        let options = Self.makeOptions(settings)
        let opened: OpaquePointer?
        do throws(EngineError) {
            opened = try ErrorText.check { rocksdb_open_for_read_only(options.handle, directory, 0, $0) }
        } catch {
            throw error.metAtOpening(in: directory)
        }
        guard let opened else { throw .io("RocksDB gave no database for \(directory)") }
        handle = opened
        self.options = options
    }

    deinit { rocksdb_close(handle) }

    /// The first and the last key of each table file, in order.
    func fileBounds() -> [[UInt8]] {
        guard let files = rocksdb_livefiles(handle) else { return [] }
        defer { rocksdb_livefiles_destroy(files) }
        var keys: [[UInt8]] = []
        for position in 0..<rocksdb_livefiles_count(files) {
            for boundary in [rocksdb_livefiles_smallestkey, rocksdb_livefiles_largestkey] {
                var size = 0
                guard let key = boundary(files, position, &size) else { continue }
                keys.append([UInt8](UnsafeRawBufferPointer(start: key, count: size)))
            }
        }
        return keys.sorted { $0.lexicographicallyPrecedes($1) }
    }

    // MARK: Figures

    func property(_ name: String) -> UInt64 {
        var value: UInt64 = 0
        return rocksdb_property_int(handle, name, &value) == 0 ? value : 0
    }

    /// A figure that RocksDB tells as text only; 0 when it does not.
    func textProperty(_ name: String) -> Int {
        guard let text = rocksdb_property_value(handle, name) else { return 0 }
        defer { rocksdb_free(text) }
        return Int(String(cString: text)) ?? 0
    }

    // MARK: Opening

    /// Sees to it that nobody but this user can read the rows: the directory is 0700, and files made from now on are
    /// 0600. RocksDB makes files at any time and on threads of its own, so only the process' mask can do that.
    private static func createPrivateDirectory(_ directory: String) throws(EngineError) {
        umask(0o077)
        guard mkdir(directory, 0o700) != 0, errno != EEXIST else { return }
        let code = errno
        let text = "cannot create \(directory): \(String(cString: strerror(code)))"
        throw code == ENOSPC || code == EDQUOT ? .noSpace(text) : .io(text)
    }

    private static func makeOptions(_ settings: RocksSettings) -> OptionsHandle {
        let options = OptionsHandle()
        let handle = options.handle
        rocksdb_options_set_create_if_missing(handle, 1)
        // Damage stops at once, and a write failed once fails for ever: the state is never patched over.
        rocksdb_options_set_paranoid_checks(handle, 1)
        // Compaction's bill comes late: with RocksDB's own trigger of 4 a sustained load costs half as much again.
        rocksdb_options_set_level0_file_num_compaction_trigger(handle, 16)
        rocksdb_options_set_max_bytes_for_level_base(handle, 256 * 1_024 * 1_024)
        rocksdb_options_set_max_background_jobs(handle, Int32(clamping: settings.backgroundJobs))
        rocksdb_options_set_compression(handle, settings.compression.rocksValue)
        // Writes reach the disk as they are made, so the sync at the end of a file does not stall everybody else's.
        rocksdb_options_set_bytes_per_sync(handle, 1_024 * 1_024)

        // Opening reads no table, so a start takes as long with much state as with little.
        rocksdb_options_set_skip_stats_update_on_db_open(handle, 1)
        rocksdb_options_set_max_open_files(handle, Int32(clamping: settings.openFilesMax))
        rocksdb_options_set_info_log_level(handle, 2)  // warnings and errors
        rocksdb_options_set_max_log_file_size(handle, 1_024 * 1_024)
        rocksdb_options_set_keep_log_file_num(handle, 4)
        rocksdb_options_set_stats_dump_period_sec(handle, 0)
        rocksdb_options_set_stats_persist_period_sec(handle, 0)
        rocksdb_options_set_max_manifest_file_size(handle, 16 * 1_024 * 1_024)

        let table = TableOptionsHandle()
        // Few readers, so few parts: in sixty-four, as RocksDB would choose, a large table's index crowds out all else.
        let cache = CacheHandle(capacity: settings.blockCacheSize, shardBits: 3)
        rocksdb_block_based_options_set_block_cache(table.handle, cache.handle)
        // Indexes and filters grow with the state; in the cache they are bounded with it, and in partitions the part
        // that a read needs is a few kilobytes, not the whole table's. Without partitions a random read of a million
        // rows costs twenty times as much.
        rocksdb_block_based_options_set_cache_index_and_filter_blocks(table.handle, 1)
        rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table.handle, 1)
        rocksdb_block_based_options_set_pin_top_level_index_and_filter(table.handle, 1)
        rocksdb_block_based_options_set_index_type(
            table.handle, Int32(rocksdb_block_based_table_index_type_two_level_index_search))
        rocksdb_block_based_options_set_partition_filters(table.handle, 1)
        rocksdb_block_based_options_set_metadata_block_size(table.handle, 4_096)
        // The table options own the filter policy from here on.
        rocksdb_block_based_options_set_filter_policy(table.handle, rocksdb_filterpolicy_create_bloom_full(10))
        rocksdb_block_based_options_set_format_version(table.handle, 5)
        rocksdb_options_set_block_based_table_factory(handle, table.handle)
        return options
    }
}
