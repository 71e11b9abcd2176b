internal import RegistryModel

/// Resources as text, as the command line takes them and shows them:
///
///     cpus:8; mem(db):16384; disk(db)[path /data, volume wal at data]:45000; ports:[31000-32000]; zones:{a, b}
///
///     resources = resource { ";" resource }
///     resource  = name [ "(" level { "," level } ")" ] [ "[" disk { "," disk } "]" ] [ "{" mark { "," mark } "}" ]
///                 ":" value
///     level     = [ "static" | "dynamic" ] role [ "by" principal ] [ "with" labels ]            bottom first
///     disk      = source | volume
///     source    = ( "path" | "mount" ) [ root ] | "block" | "raw",
///                 then [ "vendor" name ] [ "id" id ] [ "profile" name ] [ "with" labels ]
///     volume    = "volume" id [ "by" principal ] [ "at" container path [ "ro" | "rw" ] [ "from" host path ] ]
///     mark      = "revocable" | "shared" | "provider" id | "allocated" role
///     value     = number | "[" range { "," range } "]" | "{" item { "," item } "}"
///     labels    = "{" key [ "=" value ] { "," key [ "=" value ] } "}"
///
/// A word that holds a blank or one of `()[]{},;:="`, or that is a word of the grammar, stands in double quotes, in
/// which `\"`, `\\` and `\xHH` (a byte) are escapes.
struct ResourceNotation {
    /// Where and why a text is none.
    struct Failure: Error, Hashable, CustomStringConvertible {
        /// In characters, from 1 on.
        var position: Int
        var reason: String

        var description: String { "character \(position): \(reason)" }
    }

    private enum Token: Hashable {
        case mark(UInt8)
        case word([UInt8], isQuoted: Bool)
        case end
    }

    private static let marks = Array("()[]{},;:=".utf8)
    private static let keywords: Set = [
        "allocated", "at", "block", "by", "dynamic", "from", "id", "mount", "path", "profile", "provider", "raw",
        "revocable", "ro", "rw", "shared", "static", "vendor", "volume", "with",
    ]

    private let bytes: [UInt8]
    private var tokens: [(token: Token, offset: Int)] = []
    private var next = 0

    /// What the text states; whether it is right is for the rules to say.
    static func parse(_ text: String) throws(Failure) -> [ResourceClaim] {
        var notation = try ResourceNotation(text)
        var claims = [try notation.resource()]
        while notation.take(";") {
            // One at the end does no harm.
            if notation.token == .end { break }
            claims.append(try notation.resource())
        }
        guard notation.token == .end else { throw notation.unexpected("; or the end") }
        return claims
    }

    private init(_ text: String) throws(Failure) {
        bytes = Array(text.utf8)
        var offset = 0
        while offset < bytes.count {
            let start = offset
            let byte = bytes[offset]
            if Self.isBlank(byte) {
                offset += 1
            } else if Self.marks.contains(byte) {
                offset += 1
                tokens.append((token: .mark(byte), offset: start))
            } else if byte == UInt8(ascii: "\"") {
                let word = try quoted(&offset)
                tokens.append((token: .word(word, isQuoted: true), offset: start))
            } else {
                while offset < bytes.count, Self.isBare(bytes[offset]) { offset += 1 }
                tokens.append((token: .word(Array(bytes[start..<offset]), isQuoted: false), offset: start))
            }
        }
        tokens.append((token: .end, offset: bytes.count))
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }
    private static func isBare(_ byte: UInt8) -> Bool {
        !isBlank(byte) && !marks.contains(byte) && byte != UInt8(ascii: "\"")
    }

    /// - Parameter offset: at the opening quote; moves behind the closing one.
    private func quoted(_ offset: inout Int) throws(Failure) -> [UInt8] {
        let start = offset
        var word: [UInt8] = []
        offset += 1
        while offset < bytes.count {
            let byte = bytes[offset]
            if byte == UInt8(ascii: "\"") {
                offset += 1
                return word
            }
            guard byte == UInt8(ascii: "\\") else {
                word.append(byte)
                offset += 1
                continue
            }
            let rest = bytes[(offset + 1)...]
            if let escaped = rest.first, escaped == UInt8(ascii: "\"") || escaped == UInt8(ascii: "\\") {
                word.append(escaped)
                offset += 2
                continue
            }
            let digits = rest.dropFirst().prefix(2).compactMap { Character(UnicodeScalar($0)).hexDigitValue }
            guard rest.first == UInt8(ascii: "x"), digits.count == 2 else {
                throw failure("only \\\", \\\\ and \\xHH can follow a backslash in quotes", at: offset)
            }
            word.append(UInt8(digits[0] << 4 | digits[1]))
            offset += 4
        }
        throw failure("the closing quote is missing", at: start)
    }

    // MARK: - Tokens

    private var token: Token { tokens[next].token }

    private func failure(_ reason: String, at offset: Int) -> Failure {
        Failure(position: String(decoding: bytes[..<offset], as: UTF8.self).count + 1, reason: reason)
    }

    private func unexpected(_ expected: String) -> Failure {
        let found =
            switch token {
            case .mark(let byte): "\(UnicodeScalar(byte))"
            case .word(let word, _): "\"\(word.shown)\""
            case .end: "the end"
            }
        return failure("expected \(expected), found \(found)", at: tokens[next].offset)
    }

    private mutating func take(_ mark: Unicode.Scalar) -> Bool {
        guard token == .mark(UInt8(ascii: mark)) else { return false }
        next += 1
        return true
    }

    private mutating func expect(_ mark: Unicode.Scalar, _ what: String) throws(Failure) {
        guard take(mark) else { throw unexpected(what) }
    }

    private mutating func takeKeyword(_ keyword: String) -> Bool {
        guard token == .word(Array(keyword.utf8), isQuoted: false) else { return false }
        next += 1
        return true
    }

    private mutating func word(_ what: String) throws(Failure) -> [UInt8] {
        guard case .word(let word, _) = token else { throw unexpected(what) }
        next += 1
        return word
    }

    /// A word that no keyword stands for.
    private mutating func optionalWord() -> [UInt8]? {
        guard case .word(let word, let isQuoted) = token, isQuoted || !Self.isKeyword(word) else { return nil }
        next += 1
        return word
    }

    private static func isKeyword(_ word: [UInt8]) -> Bool {
        String(validating: word, as: UTF8.self).map { keywords.contains($0) } ?? false
    }

    /// The opening mark is taken already.
    private mutating func list<Item>(
        closing mark: Unicode.Scalar, _ item: (inout ResourceNotation) throws(Failure) -> Item
    ) throws(Failure) -> [Item] {
        var items: [Item] = []
        guard !take(mark) else { return items }
        while true {
            items.append(try item(&self))
            if take(mark) { return items }
            guard take(",") else { throw unexpected(", or \(mark)") }
        }
    }

    // MARK: - Resources

    private mutating func resource() throws(Failure) -> ResourceClaim {
        var claim = ResourceClaim(name: try word("the name of a resource"), type: nil)
        if take("(") {
            claim.reservations = try list(closing: ")") { (notation) throws(Failure) in try notation.level() }
        }
        if take("[") { claim.disk = try disk() }
        if take("{") { try readMarks(&claim) }
        try expect(":", ": and an amount")
        if take("[") {
            claim.type = .ranges
            claim.ranges = try list(closing: "]") { (notation) throws(Failure) in try notation.range() }
        } else if take("{") {
            claim.type = .set
            claim.set = try list(closing: "}") { (notation) throws(Failure) in try notation.word("an item") }
        } else {
            claim.type = .scalar
            claim.scalar = try number()
        }
        return claim
    }

    private mutating func number() throws(Failure) -> Double {
        let expected = "a number, [ranges] or {items}"
        let offset = tokens[next].offset
        let word = try word(expected)
        let digits = String(decoding: word, as: UTF8.self)
        guard word.allSatisfy({ (0x30...0x39).contains($0) || "+-.eE".utf8.contains($0) }), let number = Double(digits)
        else { throw failure("\"\(word.shown)\" is no number", at: offset) }
        return number
    }

    private mutating func range() throws(Failure) -> (begin: UInt64, end: UInt64) {
        let offset = tokens[next].offset
        let word = try word("a range, as 31000-32000")
        let ends = String(decoding: word, as: UTF8.self).split(separator: "-", omittingEmptySubsequences: false)
            .map { UInt64($0) }
        guard ends.count <= 2, let first = ends.first, let begin = first, let last = ends.last, let end = last else {
            throw failure("\"\(word.shown)\" is no range, as 31000-32000", at: offset)
        }
        return (begin: begin, end: end)
    }

    private mutating func level() throws(Failure) -> ResourceClaim.ReservationClaim {
        var level = ResourceClaim.ReservationClaim(kind: .dynamic)
        if takeKeyword("static") { level.kind = .static } else { _ = takeKeyword("dynamic") }
        level.role = try word("a role")
        if takeKeyword("by") { level.principal = try word("a principal") }
        if takeKeyword("with") { level.labels = try labels() }
        return level
    }

    private mutating func labels() throws(Failure) -> [Labels.Label] {
        try expect("{", "{ and labels")
        return try list(closing: "}") { (notation) throws(Failure) in
            let key = try notation.word("the key of a label")
            return Labels.Label(key: key, value: notation.take("=") ? try notation.word("the value of a label") : nil)
        }
    }

    private mutating func disk() throws(Failure) -> ResourceClaim.DiskClaim {
        var disk = ResourceClaim.DiskClaim()
        while true {
            let offset = tokens[next].offset
            if takeKeyword("volume") {
                guard disk.persistence == nil else { throw failure("a disk is one volume", at: offset) }
                try readVolume(&disk)
            } else {
                guard let source = try source() else { throw unexpected("path, mount, block, raw or volume") }
                guard disk.source == nil else { throw failure("a disk has one source", at: offset) }
                disk.source = source
            }
            if take("]") { return disk }
            guard take(",") else { throw unexpected(", or ]") }
        }
    }

    /// Nil: what comes is none.
    private mutating func source() throws(Failure) -> ResourceClaim.SourceClaim? {
        var source = ResourceClaim.SourceClaim()
        if takeKeyword("path") {
            source.kind = .path
            source.path = ResourceClaim.SourceClaim.Root(optionalWord())
        } else if takeKeyword("mount") {
            source.kind = .mount
            source.mount = ResourceClaim.SourceClaim.Root(optionalWord())
        } else if takeKeyword("block") {
            source.kind = .block
        } else if takeKeyword("raw") {
            source.kind = .raw
        } else {
            return nil
        }
        if takeKeyword("vendor") { source.vendor = try word("a vendor") }
        if takeKeyword("id") { source.id = try word("the id of a disk") }
        if takeKeyword("profile") { source.profile = try word("a profile") }
        if takeKeyword("with") { source.metadata = try labels() }
        return source
    }

    private mutating func readVolume(_ disk: inout ResourceClaim.DiskClaim) throws(Failure) {
        disk.persistence = ResourceClaim.PersistenceClaim(id: try word("the id of a volume"))
        if takeKeyword("by") { disk.persistence?.principal = try word("a principal") }
        guard takeKeyword("at") else { return }
        var mount = VolumeMount(containerPath: try word("a path in the container"))
        if takeKeyword("ro") { mount.isReadOnly = true } else { _ = takeKeyword("rw") }
        if takeKeyword("from") { mount.hostPath = try word("a path on the host") }
        disk.volume = mount
    }

    private mutating func readMarks(_ claim: inout ResourceClaim) throws(Failure) {
        while true {
            if takeKeyword("revocable") {
                claim.isRevocable = true
            } else if takeKeyword("shared") {
                claim.isShared = true
            } else if takeKeyword("provider") {
                claim.providerID = try word("the id of a resource provider")
            } else if takeKeyword("allocated") {
                claim.allocationRole = try word("a role")
            } else {
                throw unexpected("revocable, shared, provider or allocated")
            }
            if take("}") { return }
            guard take(",") else { throw unexpected(", or }") }
        }
    }
}

// MARK: - Writing

extension ResourceNotation {
    /// With its amount; `parse` reads it back.
    static func text(_ resource: Resource) -> String { "\(kind(of: resource)):\(text(resource.value))" }

    static func text(_ resources: [Resource]) -> String { resources.map { text($0) }.joined(separator: "; ") }

    /// All but the amount.
    static func kind(of resource: Resource) -> String {
        var said = wordText(resource.name)
        if !resource.stack.isEmpty { said += "(\(resource.stack.map(levelText).joined(separator: ", ")))" }
        let disk: [String?] = [resource.disk?.source.map(sourceText), resource.disk.flatMap(volumeText)]
        let disks = disk.compactMap { $0 }
        if !disks.isEmpty { said += "[\(disks.joined(separator: ", "))]" }
        let marks: [String?] = [
            resource.isRevocable ? "revocable" : nil, resource.isShared ? "shared" : nil,
            resource.providerID.map { "provider \(wordText($0.bytes))" },
            resource.allocationRole.map { "allocated \(wordText($0.bytes))" },
        ]
        let given = marks.compactMap { $0 }
        return given.isEmpty ? said : said + "{\(given.joined(separator: ", "))}"
    }

    static func text(_ value: ResourceValue) -> String {
        switch value {
        case .scalar(let amount): amount.description
        case .ranges(let ranges): ranges.description
        case .set(let items): "{\(items.items.map(wordText).joined(separator: ", "))}"
        }
    }

    private static func levelText(_ level: Reservation) -> String {
        (level.kind == .static ? "static " : "") + wordText(level.role.bytes)
            + (level.principal.map { " by \(wordText($0))" } ?? "") + labelsText(level.labels)
    }

    private static func sourceText(_ source: DiskSource) -> String {
        let kind =
            switch source.kind {
            case .path: "path"
            case .mount: "mount"
            case .block: "block"
            case .raw: "raw"
            }
        func part(_ name: String, _ word: [UInt8]?) -> String { word.map { "\(name) \(wordText($0))" } ?? "" }
        return kind + part("", source.root) + part(" vendor", source.vendor) + part(" id", source.id)
            + part(" profile", source.profile)
            + labelsText(source.metadata)
    }

    /// Nil: the disk is none.
    private static func volumeText(_ disk: DiskInfo) -> String? {
        guard let persistence = disk.persistence else { return nil }
        var said = "volume \(wordText(persistence.id.bytes))"
        if let principal = persistence.principal { said += " by \(wordText(principal))" }
        if let mount = disk.volume {
            said += " at \(wordText(mount.containerPath))" + (mount.isReadOnly ? " ro" : "")
            if let hostPath = mount.hostPath { said += " from \(wordText(hostPath))" }
        }
        return said
    }

    private static func labelsText(_ labels: Labels?) -> String {
        guard let labels else { return "" }
        let items = labels.items.map { label in wordText(label.key) + (label.value.map { "=\(wordText($0))" } ?? "") }
        return " with {\(items.joined(separator: ", "))}"
    }

    private static func wordText(_ bytes: [UInt8]) -> String {
        let text = String(validating: bytes, as: UTF8.self)
        let isPlain = bytes.allSatisfy { $0 > 0x20 && $0 != 0x7F && isBare($0) }
        if let text, isPlain, !text.isEmpty, !keywords.contains(text) { return text }
        var quoted: [UInt8] = [UInt8(ascii: "\"")]
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): quoted += [UInt8(ascii: "\\"), byte]
            case 0..<0x20, 0x7F: quoted += escape(byte)
            case 0x80...: quoted += text == nil ? escape(byte) : [byte]
            default: quoted.append(byte)
            }
        }
        return String(decoding: quoted + [UInt8(ascii: "\"")], as: UTF8.self)
    }

    private static func escape(_ byte: UInt8) -> [UInt8] {
        Array("\\x".utf8) + (byte < 16 ? [UInt8(ascii: "0")] : []) + Array(String(byte, radix: 16).utf8)
    }
}

extension ResourceClaim {
    /// States what a resource is.
    init(_ resource: Resource) {
        self.init(name: resource.name, type: nil)
        switch resource.value {
        case .scalar(let amount):
            type = .scalar
            scalar = amount.double
        case .ranges(let ranges):
            type = .ranges
            self.ranges = ranges.ranges.map { (begin: $0.lowerBound, end: $0.upperBound) }
        case .set(let items):
            type = .set
            self.set = items.items
        }
        reservations = resource.stack.map {
            ReservationClaim(
                kind: $0.kind, role: $0.role.bytes, principal: $0.principal, labels: $0.labels?.items)
        }
        disk = resource.disk.map { disk in
            DiskClaim(
                source: disk.source.map { source in
                    SourceClaim(
                        kind: source.kind, path: source.kind == .path ? SourceClaim.Root(source.root) : nil,
                        mount: source.kind == .mount ? SourceClaim.Root(source.root) : nil, vendor: source.vendor,
                        id: source.id, metadata: source.metadata?.items, profile: source.profile)
                },
                persistence: disk.persistence.map { PersistenceClaim(id: $0.id.bytes, principal: $0.principal) },
                volume: disk.volume)
        }
        isRevocable = resource.isRevocable
        isShared = resource.isShared
        providerID = resource.providerID?.bytes
        allocationRole = resource.allocationRole?.bytes
    }
}
