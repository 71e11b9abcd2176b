internal import RegistryModel

// How the commands of the registry show what they have in common.

extension [UInt8] {
    /// For a terminal: without control characters.
    var shown: String { String(decoding: List.readable(self), as: UTF8.self) }

    var hexadecimal: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

    /// As it is where it is text, else in Base64.
    var json: JSON { .string(String(validating: self, as: UTF8.self) ?? "base64:\(Base64.encode(self))") }
}

extension Quantities {
    var text: String {
        isEmpty ? "-" : items.map { "\($0.name.shown) \($0.amount)" }.joined(separator: ", ")
    }

    /// Amounts are text, exact to a thousandth.
    var json: JSON { JSON.object(items.map { ($0.name.shown, JSON.string($0.amount.description)) }) }
}

extension Resource {
    var json: JSON {
        .object([
            ("resource", .string(ResourceNotation.text(self))), ("name", name.json),
            ("amount", .string(ResourceNotation.text(value))), ("role", reservationRole?.bytes.json ?? .null),
        ])
    }
}

extension JSON {
    static func texts(_ texts: [[UInt8]]) -> JSON { .array(texts.map(\.json)) }
    static func labels(_ labels: [Labels.Label]) -> JSON {
        .array(labels.map { JSON.object([("key", $0.key.json), ("value", $0.value?.json ?? .null)]) })
    }

    /// Of nanoseconds.
    static func milliseconds(_ nanoseconds: UInt64) -> JSON { .number(nanoseconds / 1_000_000) }
}

/// Lists of the registry on standard output: a table, or with `--json` an object a line.
enum RegistryOutput {
    typealias Row = (cells: [String], json: JSON)

    static func list(_ header: [String], _ rows: [Row], asJSON: Bool) {
        var lines = LineBuffer()
        if asJSON {
            for row in rows { lines.append(row.json.bytes) }
        } else {
            for line in StatusReport.table([header] + rows.map(\.cells)) { lines.append(Array(line.utf8)) }
        }
        lines.flush()
    }

    /// One thing: what is said of it, or an object.
    static func one(_ lines: [String], _ json: JSON, asJSON: Bool) {
        Output.line(asJSON ? json.text : lines.joined(separator: "\n"))
    }

    /// A table under a line that says of what, with an empty line above; nothing when there is nothing.
    static func section(_ title: String, _ header: [String], _ rows: [[String]]) -> [String] {
        rows.isEmpty ? [] : ["", title] + StatusReport.table([header] + rows)
    }
}

/// UUIDs in their usual form.
enum RegistryUUID {
    static func text(_ bytes: [UInt8]) -> String {
        guard bytes.count == OperationRequest.uuidSize else { return bytes.shown }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { Array(bytes[$0]).hexadecimal }.joined(separator: "-")
    }

    /// - Throws: `usage`.
    static func parse(_ text: String, of option: String) throws -> [UInt8] {
        let characters = text.utf8.filter { $0 != UInt8(ascii: "-") }
        let digits = characters.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
        guard characters.count == 32, digits.count == 32 else {
            throw CommandError.usage("\(option): \"\(text)\" is no UUID: it has 32 hexadecimal digits")
        }
        return stride(from: 0, to: 32, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// One that is drawn at random (version 4).
    static func new() -> [UInt8] {
        var bytes = (0..<OperationRequest.uuidSize).map { _ in UInt8.random(in: 0...255) }
        bytes[6] = (bytes[6] & 0x0F) | 0x40
        bytes[8] = (bytes[8] & 0x3F) | 0x80
        return bytes
    }
}

extension NamedNumber {
    /// `cpus=8`.
    /// - Throws: `usage`.
    init(argument: Substring, of option: String) throws {
        guard let equals = argument.lastIndex(of: "="), equals > argument.startIndex,
            let number = Double(argument[argument.index(after: equals)...])
        else { throw CommandError.usage("\(option): \"\(argument)\" is not NAME=NUMBER, as cpus=10") }
        self.init(name: Array(argument[..<equals].utf8), number: number)
    }

    /// `cpus=8,mem=16384`, several times.
    /// - Throws: `usage`.
    static func list(_ arguments: [String], of option: String) throws -> [NamedNumber] {
        try arguments.flatMap { $0.split(separator: ",", omittingEmptySubsequences: false) }.map { part in
            try NamedNumber(argument: part, of: option)
        }
    }
}

extension ResourceNotation {
    /// - Parameter argument: names it in the message.
    /// - Throws: `usage`.
    static func parse(_ text: String, of argument: String) throws -> [ResourceClaim] {
        do throws(Failure) {
            return try parse(text)
        } catch {
            throw CommandError.usage("\(argument), \(error); `quorate registry resources --help` has the form")
        }
    }

    static let help = """
        Resources are written one after another with ; between them (mind the shell's quotes):
          cpus:8; mem(db):16384; ports:[31000-32000]; zones:{a, b}
          disk(db)[path /data, volume wal at data]:45000
          cpus(static db, dynamic db/eu by ops with {rack=r1}):4
          disk(db)[mount /mnt/ssd, volume base by ops at base]{shared}:500000
        Amounts of mem and disk are MB. In ( ) stand the reservations, the lowest first: [static] ROLE [by PRINCIPAL]
        [with {KEY=VALUE, …}]; dynamic where nothing is said. In [ ] the source of a disk, path [ROOT], mount [ROOT],
        block or raw, then [vendor V] [id ID] [profile P] [with {…}], and the volume on it, volume ID [by PRINCIPAL]
        [at PATH [ro] [from HOSTPATH]]; without a source it is the root disk. In { } before the colon: revocable,
        shared, provider ID, allocated ROLE. What holds a blank or one of ()[]{},;:=, or is a word of this form, stands
        in double quotes.
        """
}
