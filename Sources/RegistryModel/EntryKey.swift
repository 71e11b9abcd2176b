package import Basics

/// What an entry of an agent's ledger is of: amounts under one key add up. An entry that cannot be divided has an ordinal, so
/// that an agent can have two disks that nothing tells apart.
///
/// Its bytes are the end of the entry's row key. Two entries are the same when their bytes are.
///
///     text name | u8 value kind | u8 flags: 1 revocable, 2 shared | text? provider | source? | list of levels
///     | text? persistence id | u16 ordinal
///     source: u8 kind | text? root | text? vendor | text? id | labels? | text? profile
///     level:  u8 kind | text role | text? principal | labels?
public struct EntryKey: Hashable, Sendable {
    public let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }
}

/// What an agent has of one kind, reserved to one role.
public struct LedgerEntry: Hashable, Sendable {
    /// Without an allocation role.
    public var resource: Resource
    /// 0 where entries add up, else the smallest that was free.
    public var ordinal: UInt16

    public init(_ resource: Resource, ordinal: UInt16 = 0) {
        self.resource = resource.unallocated
        self.ordinal = ordinal
    }

    public var key: EntryKey { EntryKey(kindBytes + [UInt8(truncatingIfNeeded: ordinal >> 8), UInt8(truncatingIfNeeded: ordinal)]) }

    /// The key without the ordinal: equal for resources of which one can be taken for the other.
    public var kindBytes: [UInt8] { resource.kindBytes }
}

extension Resource {
    /// All that tells this kind of resource from another: neither its amount, nor how it is mounted, nor who made it.
    public var kindBytes: [UInt8] {
        var writer = ByteWriter(reservingCapacity: 48)
        writer.writeBytes16(name)
        writer.write(value.kind.rawValue)
        writer.write((isRevocable ? Self.revocable : 0) | (isShared ? Self.shared : 0))
        writer.write(optional: providerID?.bytes)
        writer.write(optional: disk?.source) { $0.encode(into: &$1) }
        writer.write(list: stack) { $0.encode(into: &$1) }
        writer.write(optional: disk?.persistence?.id.bytes)
        return writer.takeBytes()
    }

    private static let revocable: UInt8 = 1
    private static let shared: UInt8 = 2

    /// The amount, and what the key does not tell: the value of an entry's row.
    ///
    ///     u64 thousandths, or list of u64 begin, u64 end, or list of texts | text? principal of the volume | mount?
    package func encodeAmount(into writer: inout ByteWriter) {
        switch value {
        case .scalar(let amount): writer.write(UInt64(amount.thousandths))
        case .ranges(let ranges):
            writer.write(UInt32(ranges.ranges.count))
            for range in ranges.ranges {
                writer.write(range.lowerBound)
                writer.write(range.upperBound)
            }
        case .set(let items):
            writer.write(UInt32(items.items.count))
            for item in items.items { writer.writeBytes16(item) }
        }
        writer.write(optional: disk?.persistence?.principal)
        writer.write(optional: disk?.volume) { $0.encode(into: &$1) }
    }

    /// The resource of a row.
    package init(kind reader: inout ByteReader, amount: inout ByteReader) throws(DecodeError) {
        name = try reader.readText()
        let kind = try reader.readKind("value of a resource", ResourceValue.Kind.self)
        let flags = try reader.readUInt8()
        guard flags & ~(Self.revocable | Self.shared) == 0 else { throw .unknown("flags of an entry", UInt64(flags)) }
        isRevocable = flags & Self.revocable != 0
        isShared = flags & Self.shared != 0
        providerID = try reader.readOptionalText().map { RegistryID(unchecked: $0) }
        let source = try reader.readOptional { (reader) throws(DecodeError) in try DiskSource(decoding: &reader) }
        stack = try reader.readList { (reader) throws(DecodeError) in try Reservation(decoding: &reader) }
        let persistenceID = try reader.readOptionalText()
        value = try ResourceValue(kind, decoding: &amount)
        let principal = try amount.readOptionalText()
        let mount = try amount.readOptional { (reader) throws(DecodeError) in try VolumeMount(decoding: &reader) }
        guard source != nil || persistenceID != nil || mount != nil else { return }
        let persistence = persistenceID.map { Persistence(id: RegistryID(unchecked: $0), principal: principal) }
        disk = DiskInfo(source: source, persistence: persistence, volume: mount)
    }
}

extension ResourceValue {
    fileprivate init(_ kind: Kind, decoding reader: inout ByteReader) throws(DecodeError) {
        do {
            switch kind {
            case .scalar:
                guard let thousandths = Int64(exactly: try reader.readUInt64()),
                    let amount = Scalar(thousandths: thousandths)
                else { throw DecodeError.invalid("amount of an entry") }
                self = .scalar(amount)
            case .ranges:
                var ranges: [(begin: UInt64, end: UInt64)] = []
                for _ in 0..<(try reader.readCount32(itemSizeMin: 16)) {
                    let begin = try reader.readUInt64()
                    ranges.append((begin: begin, end: try reader.readUInt64()))
                }
                self = .ranges(try IntegerRanges(ranges))
            case .set:
                var items: [[UInt8]] = []
                for _ in 0..<(try reader.readCount32(itemSizeMin: 2)) { items.append(try reader.readText()) }
                self = .set(try ItemSet(items))
            }
        } catch let error as DecodeError {
            throw error
        } catch {
            throw .invalid("value of an entry: \(error)")
        }
    }
}

extension Reservation {
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.writeBytes16(role.bytes)
        writer.write(optional: principal)
        writer.write(labels: labels)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = try reader.readKind("reservation")
        role = RoleName(unchecked: try reader.readText())
        principal = try reader.readOptionalText()
        labels = try reader.readCheckedLabels()
    }
}

extension DiskSource {
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.write(optional: root)
        writer.write(optional: vendor)
        writer.write(optional: id)
        writer.write(labels: metadata)
        writer.write(optional: profile)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = try reader.readKind("disk source")
        root = try reader.readOptionalText()
        vendor = try reader.readOptionalText()
        id = try reader.readOptionalText()
        metadata = try reader.readCheckedLabels()
        profile = try reader.readOptionalText()
    }
}

extension ByteWriter {
    fileprivate mutating func write(labels: Labels?) {
        write(optional: labels) { labels, writer in writer.write(list: labels.items) { $0.encode(into: &$1) } }
    }
}

extension ByteReader {
    /// Labels of a row: those of a claim are judged by their rule.
    @_lifetime(self: copy self)
    fileprivate mutating func readCheckedLabels() throws(DecodeError) -> Labels? {
        guard let stated = try readOptionalLabels() else { return nil }
        do throws(RegistryRefusal) {
            return try Labels(stated)
        } catch {
            throw .invalid("labels of a row: \(error)")
        }
    }
}
