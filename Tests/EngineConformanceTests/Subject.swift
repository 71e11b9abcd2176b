import Basics
import Foundation
import RocksEngine
import StateEngine

/// The engines that pass the suite.
enum EngineKind: String, CaseIterable, Sendable {
    case memory
    case rocks
    /// RocksDB that stores rows in the background after almost each batch.
    case storing

    /// Those of which a crash leaves what the last flush has made durable, and nothing more.
    static let exact: [EngineKind] = [.memory, .rocks]
}

/// An engine that can crash and come back.
final class Subject {
    let kind: EngineKind
    private(set) var engine: any Engine
    private let root: URL
    private var crashCount = 0

    init(_ kind: EngineKind) throws {
        self.kind = kind
        root = FileManager.default.temporaryDirectory.appending(path: "engine-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
        switch kind {
        case .memory: engine = MemoryEngine()
        case .rocks: engine = try RocksEngine(directory: root.appending(path: "0").path)
        case .storing:
            engine = try RocksEngine(
                directory: root.appending(path: "0").path, settings: RocksSettings(writeBufferSize: 200))
        }
    }

    deinit {
        engine = MemoryEngine()
        try? FileManager.default.removeItem(at: root)
    }

    /// Goes on with what a crash at this moment would leave. RocksDB's files are copied while it is open, as a process
    /// that is killed would leave them; closing it would flush first.
    func crash() throws {
        if let memory = engine as? MemoryEngine {
            memory.crash()
            return
        }
        let live = root.appending(path: "\(crashCount)")
        crashCount += 1
        let image = root.appending(path: "\(crashCount)")
        try FileManager.default.copyItem(at: live, to: image)
        engine = try RocksEngine(directory: image.path)
    }

    func write(_ change: (inout WriteBatch) -> Void) throws {
        var batch = WriteBatch()
        change(&batch)
        try engine.write(batch)
    }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

struct Row: Hashable, CustomStringConvertible {
    var key: [UInt8]
    var value: [UInt8]

    init(_ key: [UInt8], _ value: [UInt8]) {
        self.key = key
        self.value = value
    }

    init(_ key: String, _ value: String) { self.init(bytes(key), bytes(value)) }

    var description: String { "\(String(decoding: key, as: UTF8.self))=\(String(decoding: value, as: UTF8.self))" }
}

extension EngineReader {
    func get(_ key: String) throws -> [UInt8]? { try get(bytes(key)) }
    func get(_ key: [UInt8]) throws -> [UInt8]? { try get(key.rawSpan) }

    func rows(from: [UInt8] = [], to: [UInt8]? = nil, reversed: Bool = false, limit: Int = .max) throws -> [Row] {
        var rows: [Row] = []
        guard limit > 0 else { return rows }
        try scan(from: from, to: to, reversed: reversed) { key, value in
            rows.append(Row([UInt8](key), [UInt8](value)))
            return rows.count == limit ? .stop : .next
        }
        return rows
    }
}

extension Engine {
    func getDurable(_ key: [UInt8]) throws -> [UInt8]? { try getDurable(key.rawSpan) }
}

/// The specification: a sorted dictionary, as slow and plain as can be.
struct Model: Equatable {
    var rows: [[UInt8]: [UInt8]] = [:]

    mutating func apply(_ batch: borrowing WriteBatch) {
        batch.forEach { kind, first, second in
            let key = [UInt8](first)
            switch kind {
            case .put: rows[key] = [UInt8](second)
            case .delete: rows[key] = nil
            case .deleteRange:
                let end = [UInt8](second)
                rows = rows.filter {
                    !(!$0.key.lexicographicallyPrecedes(key) && $0.key.lexicographicallyPrecedes(end))
                }
            }
        }
    }

    func rows(from: [UInt8] = [], to: [UInt8]? = nil, reversed: Bool = false) -> [Row] {
        let sorted = rows.filter { row in
            !row.key.lexicographicallyPrecedes(from) && (to.map { row.key.lexicographicallyPrecedes($0) } ?? true)
        }.map { Row($0.key, $0.value) }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        return reversed ? sorted.reversed() : sorted
    }
}

/// Keys from a small space, so that puts, deletes and ranges meet; some empty, some long, some with the bytes at the
/// ends.
func randomKey(_ random: inout SplitMix64) -> [UInt8] {
    let alphabet: [UInt8] = [0x00, 0x61, 0x62, 0x7F, 0x80, 0xFF]
    let size = Int.random(in: 0...4, using: &random)
    return (0..<size).map { _ in alphabet[Int.random(in: 0..<alphabet.count, using: &random)] }
}

func randomBatch(_ batch: inout WriteBatch, operations: Int, _ random: inout SplitMix64) {
    for _ in 0..<operations {
        switch Int.random(in: 0..<20, using: &random) {
        case 0: batch.deleteRange(from: randomKey(&random), to: randomKey(&random))
        case 1...6: batch.delete(randomKey(&random))
        default:
            let size = Int.random(in: 0...40, using: &random)
            batch.put(randomKey(&random), (0..<size).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }
}
