import MesosRegistry
import RegistryMachine
import RegistryModel
import Testing

/// The rows of a registry in memory.
final class MemoryRows: RegistryRows {
    private(set) var all: [[UInt8]: [UInt8]] = [:]

    func row(at key: [UInt8]) -> [UInt8]? { all[key] }

    func scan(_ prefix: [UInt8], _ body: ([UInt8], [UInt8]) throws -> Bool) throws {
        let found = all.filter { $0.key.starts(with: prefix) }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        for (key, value) in found {
            guard try body(key, value) else { return }
        }
    }

    func set(_ key: [UInt8], to value: [UInt8]?) { all[key] = value }
}

/// A registry into which documents are imported, and out of which they come.
struct Registry {
    let rows = MemoryRows()
    let fence: UInt64 = 100

    @discardableResult
    func call(_ command: RegistryCommand) throws -> RegistryReply {
        var registrar = Registrar(rows: rows, now: 5_000_000_000, fence: fence)
        // As it comes out of the log.
        let reply = try registrar.carryOut(try RegistryCommand(command.encoded()))
        #expect(try RegistryAudit.findings(in: rows, fence: fence) == [])
        return reply
    }

    /// - Parameter chunkSize: how many records come at once; nil: as the command line sends them.
    func take(_ document: RegistryDocument, chunkSize: Int? = nil) throws {
        var chunks = ImportRecord.chunks(of: document.records)
        if let chunkSize {
            let starts = stride(from: 0, to: max(1, document.records.count), by: chunkSize)
            chunks = starts.map { Array(document.records[$0..<min($0 + chunkSize, document.records.count)]) }
        }
        for (number, records) in chunks.enumerated() {
            try call(
                .importChunk(id: [1], number: UInt64(number), isLast: number == chunks.count - 1, records))
        }
    }

    func document() throws -> JSONValue {
        var writer = DocumentWriter()
        for (key, value) in rows.all {
            let key = try #require(RegistryRecordKey(key))
            if let record = try RegistryRecord(key, value) { writer.add(record) }
        }
        return try writer.document()
    }
}

func text(_ value: JSONValue) -> String { String(decoding: value.bytes, as: UTF8.self) }

func canonical(_ text: String) throws -> String {
    String(decoding: try JSONValue(Array(text.utf8)).canonicalRegistry.bytes, as: UTF8.self)
}

/// What comes out of a registry into which the document went.
func imported(_ text: String, chunkSize: Int? = nil) throws -> String {
    let registry = Registry()
    try registry.take(try RegistryDocument(Array(text.utf8)), chunkSize: chunkSize)
    return String(decoding: try registry.document().bytes, as: UTF8.self)
}

/// `path rule` of each problem.
func problems(_ text: String) -> [String] {
    do throws(RegistryDocument.Refusal) {
        _ = try RegistryDocument(Array(text.utf8))
        return []
    } catch {
        return error.problems.map { "\($0.path) \($0.rule.rawValue)" }
    }
}
