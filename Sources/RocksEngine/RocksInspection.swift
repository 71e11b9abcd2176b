internal import Basics
package import StateEngine

/// The rows in the directory of a stopped node, read without changing a byte of it. Damage does not end the reading:
/// it goes on behind it.
package final class RocksInspection {
    private let database: RocksDatabase
    private let directory: String
    private let rows: RocksFiles

    /// Damage to a table file, as far as RocksDB says where it is.
    package struct Damage: Hashable, Sendable {
        package var file: String
        package var offset: UInt64?
        package var reason: String
    }

    package init(directory: String) throws(EngineError) {
        self.directory = directory
        database = try RocksDatabase(readingIn: directory, settings: RocksSettings())
        rows = RocksFiles(database)
    }

    package func get(_ key: [UInt8]) throws(EngineError) -> [UInt8]? { try rows.get(key.rawSpan) }

    /// Reads every row from `from` to `to` in key order, each twice: by scanning, and by its key, which reads indexes
    /// and filters that a scan passes by. Rows that cannot be read are left out, and with them those that are reached
    /// only through the damage; what hides them is handed to `damaged`, once for each place.
    package func scan(
        from: [UInt8], to: [UInt8]?, _ body: (_ key: RawSpan, _ value: RawSpan) -> Void,
        damaged: (Damage) -> Void
    ) throws(EngineError) {
        let bounds = database.fileBounds()
        var reported: Set<Damage> = []
        var next: [UInt8]? = from
        func report(_ error: EngineError) throws(EngineError) {
            guard case .corrupt(let text) = error else { throw error }
            let damage = Self.locate(text, in: directory)
            if reported.insert(damage).inserted { damaged(damage) }
        }
        while let start = next {
            var last = start
            next = nil
            do throws(EngineError) {
                try rows.scan(from: start, to: to, reversed: false) {
                    (key, value) throws(EngineError) in
                    last = [UInt8](key)
                    do throws(EngineError) { _ = try rows.get(key) } catch { try report(error) }
                    body(key, value)
                    return .next
                }
            } catch {
                try report(error)
                // Where the next table file begins or ends is the next place that is sure to be found.
                next = bounds.first {
                    last.lexicographicallyPrecedes($0) && (to.map($0.lexicographicallyPrecedes) ?? true)
                }
            }
        }
    }

    /// "Corruption: block checksum mismatch: … in /data/state-1/000012.sst offset 4711 size 90", or
    /// "IO error: While pread offset 4711 len 90: /data/state-1/000012.sst: Input/output error"
    package static func locate(_ text: String, in directory: String) -> Damage {
        let words = text.split(separator: " ")
        let isFile = { (word: Substring) in word.contains(".sst") || word.contains("MANIFEST-") || word.contains("/CURRENT") }
        guard let position = words.firstIndex(where: isFile) else {
            return Damage(file: directory, offset: nil, reason: text)
        }
        let name = words[position].prefix { $0 != ":" && $0 != "," }
        let offset = (words[position...].firstIndex(of: "offset") ?? words.firstIndex(of: "offset")).flatMap { place in
            place + 1 < words.endIndex ? UInt64(words[place + 1]) : nil
        }
        let file = name.contains("/") ? String(name) : "\(directory)/\(name)"
        return Damage(file: file, offset: offset, reason: text)
    }
}
