package import Basics

/// What an entry of an agent's ledger is of: amounts under one key add up. An entry that cannot be divided has an
/// ordinal, so that an agent can have two disks that nothing tells apart.
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
public struct LedgerEntry: Sendable {
    /// Without an allocation role.
    public private(set) var resource: Resource
    /// 0 where entries add up, else the smallest that was free.
    public let ordinal: UInt16
    /// The key without the ordinal: equal for resources of which one can be taken for the other.
    public let kindBytes: [UInt8]

    public init(_ resource: Resource, ordinal: UInt16 = 0) {
        self.resource = resource.unallocated
        self.ordinal = ordinal
        kindBytes = resource.kindBytes
    }

    /// As it is stored.
    /// - Parameter key: the bytes of an `EntryKey`.
    package init(key: [UInt8], _ value: [UInt8]) throws(DecodeError) {
        guard key.count >= 2 else { throw .truncated }
        resource = try Resource(value)
        ordinal = UInt16(key[key.count - 2]) << 8 | UInt16(key[key.count - 1])
        kindBytes = Array(key.dropLast(2))
    }

    /// The amount alone: of the same kind it remains.
    package mutating func setValue(_ value: ResourceValue) { resource.value = value }

    public var key: EntryKey {
        EntryKey(kindBytes + [UInt8(truncatingIfNeeded: ordinal >> 8), UInt8(truncatingIfNeeded: ordinal)])
    }
}

extension LedgerEntry: Hashable {
    public static func == (left: LedgerEntry, right: LedgerEntry) -> Bool {
        left.ordinal == right.ordinal && left.resource == right.resource
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(ordinal)
        hasher.combine(resource)
    }
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
}

extension Reservation {
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.writeBytes16(role.bytes)
        writer.write(optional: principal)
        writer.write(labels: labels?.items)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = try reader.readNumber("kind of a reservation")
        role = try reader.readValue()
        principal = try reader.readOptionalText()
        labels = try reader.readLabels()
    }
}

extension DiskSource {
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        writer.write(optional: root)
        writer.write(optional: vendor)
        writer.write(optional: id)
        writer.write(labels: metadata?.items)
        writer.write(optional: profile)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = try reader.readNumber("kind of a disk")
        root = try reader.readOptionalText()
        vendor = try reader.readOptionalText()
        id = try reader.readOptionalText()
        metadata = try reader.readLabels()
        profile = try reader.readOptionalText()
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    fileprivate mutating func readLabels() throws(DecodeError) -> Labels? {
        guard let stated = try readOptionalLabels() else { return nil }
        return try sound { () throws(RegistryRefusal) in try Labels(stated) }
    }
}
