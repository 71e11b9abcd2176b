package import Basics

// How resources stand in commands. `text?` is u8 present | u16 size, bytes; a list is u32 count | items.

extension ByteWriter {
    package mutating func write(optional bytes: [UInt8]?) {
        write(bytes != nil)
        if let bytes { writeBytes16(bytes) }
    }

    package mutating func write<Item>(list items: [Item], _ body: (Item, inout ByteWriter) -> Void) {
        write(UInt32(items.count))
        for item in items { body(item, &self) }
    }

    package mutating func write<Item>(optional item: Item?, _ body: (Item, inout ByteWriter) -> Void) {
        write(item != nil)
        if let item { body(item, &self) }
    }
}

extension ByteReader {
    /// Texts of commands: what names something is judged by its rule, with a message, and not here.
    @_lifetime(self: copy self)
    package mutating func readText() throws(DecodeError) -> [UInt8] { [UInt8](try readBytes16()) }

    @_lifetime(self: copy self)
    package mutating func readOptionalText() throws(DecodeError) -> [UInt8]? { try readBool() ? try readText() : nil }

    @_lifetime(self: copy self)
    package mutating func readList<Item>(
        _ body: (inout ByteReader) throws(DecodeError) -> Item
    ) throws(DecodeError) -> [Item] {
        var items: [Item] = []
        for _ in 0..<(try readCount32(itemSizeMin: 1)) { items.append(try body(&self)) }
        return items
    }

    @_lifetime(self: copy self)
    package mutating func readOptional<Item>(
        _ body: (inout ByteReader) throws(DecodeError) -> Item
    ) throws(DecodeError) -> Item? {
        try readBool() ? try body(&self) : nil
    }
}

extension Labels.Label {
    /// `text key | text? value`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(key)
        writer.write(optional: value)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        key = try reader.readText()
        value = try reader.readOptionalText()
    }
}

extension VolumeMount {
    /// `text container path | u8 read-only | text? host path`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(containerPath)
        writer.write(isReadOnly)
        writer.write(optional: hostPath)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        containerPath = try reader.readText()
        isReadOnly = try reader.readBool()
        hostPath = try reader.readOptionalText()
    }
}

// MARK: - As stated

/// What a claim's parts are; bits that nobody knows are refused.
private struct ClaimParts: OptionSet {
    let rawValue: UInt16

    static let scalar = ClaimParts(rawValue: 1)
    static let ranges = ClaimParts(rawValue: 2)
    static let set = ClaimParts(rawValue: 4)
    static let reservations = ClaimParts(rawValue: 8)
    static let formerRole = ClaimParts(rawValue: 16)
    static let formerReservation = ClaimParts(rawValue: 32)
    static let disk = ClaimParts(rawValue: 64)
    static let revocable = ClaimParts(rawValue: 128)
    static let shared = ClaimParts(rawValue: 256)
    static let provider = ClaimParts(rawValue: 512)
    static let allocation = ClaimParts(rawValue: 1_024)
    static let all = ClaimParts(rawValue: 2_047)
}

extension ResourceClaim {
    /// `text name | u8 type: 0 scalar, 1 ranges, 2 set, 3 text, 255 none | u16 parts`, then the parts that are there,
    /// in the order of their bits: `u64 bits of a double | list of u64 begin, u64 end | list of texts | list of
    /// reservations | text | reservation | disk | – | – | text | text`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(name)
        writer.write(type?.rawValue ?? 255)
        var parts: ClaimParts = []
        if scalar != nil { parts.insert(.scalar) }
        if ranges != nil { parts.insert(.ranges) }
        if set != nil { parts.insert(.set) }
        if !reservations.isEmpty { parts.insert(.reservations) }
        if formerRole != nil { parts.insert(.formerRole) }
        if formerReservation != nil { parts.insert(.formerReservation) }
        if disk != nil { parts.insert(.disk) }
        if isRevocable { parts.insert(.revocable) }
        if isShared { parts.insert(.shared) }
        if providerID != nil { parts.insert(.provider) }
        if allocationRole != nil { parts.insert(.allocation) }
        writer.write(parts.rawValue)
        if let scalar { writer.write(scalar.bitPattern) }
        if let ranges { writer.write(ranges: ranges) }
        if let set { writer.write(texts: set) }
        if !reservations.isEmpty { writer.write(list: reservations) { $0.encode(into: &$1) } }
        if let formerRole { writer.writeBytes16(formerRole) }
        formerReservation?.encode(into: &writer)
        disk?.encode(into: &writer)
        if let providerID { writer.writeBytes16(providerID) }
        if let allocationRole { writer.writeBytes16(allocationRole) }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let name = try reader.readText()
        let type = try reader.readUInt8()
        self.init(name: name, type: ValueType(rawValue: type))
        let parts = ClaimParts(rawValue: try reader.readUInt16())
        guard ClaimParts.all.isSuperset(of: parts) else { throw .unknown("part of a resource", UInt64(parts.rawValue)) }
        if parts.contains(.scalar) { scalar = Double(bitPattern: try reader.readUInt64()) }
        if parts.contains(.ranges) { ranges = try reader.readRanges() }
        if parts.contains(.set) { set = try reader.readTexts() }
        if parts.contains(.reservations) {
            reservations = try reader.readList { (reader) throws(DecodeError) in try ReservationClaim(decoding: &reader)
            }
        }
        if parts.contains(.formerRole) { formerRole = try reader.readText() }
        if parts.contains(.formerReservation) { formerReservation = try ReservationClaim(decoding: &reader) }
        if parts.contains(.disk) { disk = try DiskClaim(decoding: &reader) }
        isRevocable = parts.contains(.revocable)
        isShared = parts.contains(.shared)
        if parts.contains(.provider) { providerID = try reader.readText() }
        if parts.contains(.allocation) { allocationRole = try reader.readText() }
    }
}

extension ResourceClaim.ReservationClaim {
    /// `u8 kind, 0 none | text? role | text? principal | labels?`
    func encode(into writer: inout ByteWriter) {
        writer.write(kind?.rawValue ?? 0)
        writer.write(optional: role)
        writer.write(optional: principal)
        writer.write(labels: labels)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = Reservation.Kind(rawValue: try reader.readUInt8())
        role = try reader.readOptionalText()
        principal = try reader.readOptionalText()
        labels = try reader.readOptionalLabels()
    }
}

extension ResourceClaim.DiskClaim {
    /// `source? | persistence?: text id, text? principal | mount?`
    func encode(into writer: inout ByteWriter) {
        writer.write(optional: source) { $0.encode(into: &$1) }
        writer.write(optional: persistence) { persistence, writer in
            writer.writeBytes16(persistence.id)
            writer.write(optional: persistence.principal)
        }
        writer.write(optional: volume) { $0.encode(into: &$1) }
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        source = try reader.readOptional { (reader) throws(DecodeError) in
            try ResourceClaim.SourceClaim(decoding: &reader)
        }
        persistence = try reader.readOptional { (reader) throws(DecodeError) in
            let id = try reader.readText()
            return ResourceClaim.PersistenceClaim(id: id, principal: try reader.readOptionalText())
        }
        volume = try reader.readOptional { (reader) throws(DecodeError) in try VolumeMount(decoding: &reader) }
    }
}

extension ResourceClaim.SourceClaim {
    /// `u8 kind, 0 none | path?: text? root | mount?: text? root | text? vendor | text? id | labels? | text? profile`
    func encode(into writer: inout ByteWriter) {
        writer.write(kind?.rawValue ?? 0)
        writer.write(optional: path) { $1.write(optional: $0.root) }
        writer.write(optional: mount) { $1.write(optional: $0.root) }
        writer.write(optional: vendor)
        writer.write(optional: id)
        writer.write(labels: metadata)
        writer.write(optional: profile)
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        kind = DiskSource.Kind(rawValue: try reader.readUInt8())
        path = try reader.readOptional { (reader) throws(DecodeError) in Root(try reader.readOptionalText()) }
        mount = try reader.readOptional { (reader) throws(DecodeError) in Root(try reader.readOptionalText()) }
        vendor = try reader.readOptionalText()
        id = try reader.readOptionalText()
        metadata = try reader.readOptionalLabels()
        profile = try reader.readOptionalText()
    }
}

extension ByteWriter {
    mutating func write(labels: [Labels.Label]?) {
        write(optional: labels) { labels, writer in writer.write(list: labels) { $0.encode(into: &$1) } }
    }

    mutating func write(ranges: [ClosedRange<UInt64>]) {
        write(ranges: ranges.map { (begin: $0.lowerBound, end: $0.upperBound) })
    }

    mutating func write(ranges: [(begin: UInt64, end: UInt64)]) {
        write(list: ranges) { range, writer in
            writer.write(range.begin)
            writer.write(range.end)
        }
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    mutating func readRanges() throws(DecodeError) -> [(begin: UInt64, end: UInt64)] {
        try readList { (reader) throws(DecodeError) in
            let begin = try reader.readUInt64()
            return (begin: begin, end: try reader.readUInt64())
        }
    }

    @_lifetime(self: copy self)
    mutating func readOptionalLabels() throws(DecodeError) -> [Labels.Label]? {
        try readOptional { (reader) throws(DecodeError) in
            try reader.readList { (reader) throws(DecodeError) in try Labels.Label(decoding: &reader) }
        }
    }
}

// MARK: - Checked

/// As it stands in rows and replies: it was checked before it got there.
extension Resource: RegistryValue {
    private struct Parts: OptionSet {
        let rawValue: UInt8

        static let revocable = Parts(rawValue: 1)
        static let shared = Parts(rawValue: 2)
        static let source = Parts(rawValue: 4)
        static let persistence = Parts(rawValue: 8)
        static let mount = Parts(rawValue: 16)
        static let provider = Parts(rawValue: 32)
        static let allocation = Parts(rawValue: 64)
        static let all = Parts(rawValue: 127)
    }

    /// `text name | value | levels | u8 parts: 1 revocable, 2 shared, 4 source, 8 persistence, 16 mount, 32 provider,
    /// 64 allocation role`, then those that are there, in the order of their bits: `– | – | source | text id, text?
    /// principal | mount | text | text`. A disk without any of its parts is the root disk.
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(name)
        value.encode(into: &writer)
        writer.write(list: stack) { $0.encode(into: &$1) }
        var parts: Parts = []
        if isRevocable { parts.insert(.revocable) }
        if isShared { parts.insert(.shared) }
        if disk?.source != nil { parts.insert(.source) }
        if disk?.persistence != nil { parts.insert(.persistence) }
        if disk?.volume != nil { parts.insert(.mount) }
        if providerID != nil { parts.insert(.provider) }
        if allocationRole != nil { parts.insert(.allocation) }
        writer.write(parts.rawValue)
        disk?.source?.encode(into: &writer)
        if let persistence = disk?.persistence {
            writer.write(persistence.id)
            writer.write(optional: persistence.principal)
        }
        disk?.volume?.encode(into: &writer)
        if let providerID { writer.write(providerID) }
        if let allocationRole { writer.write(allocationRole) }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let name = try reader.readText()
        let value = try ResourceValue(decoding: &reader)
        let stack = try reader.readList { (reader) throws(DecodeError) in try Reservation(decoding: &reader) }
        self.init(name: name, value: value, stack: stack)
        let parts = Parts(rawValue: try reader.readUInt8())
        guard Parts.all.isSuperset(of: parts) else { throw .unknown("part of a resource", UInt64(parts.rawValue)) }
        isRevocable = parts.contains(.revocable)
        isShared = parts.contains(.shared)
        if !parts.isDisjoint(with: [.source, .persistence, .mount]) {
            var disk = DiskInfo()
            if parts.contains(.source) { disk.source = try DiskSource(decoding: &reader) }
            if parts.contains(.persistence) {
                let id: RegistryID = try reader.readValue()
                disk.persistence = Persistence(id: id, principal: try reader.readOptionalText())
            }
            if parts.contains(.mount) { disk.volume = try VolumeMount(decoding: &reader) }
            self.disk = disk
        }
        if parts.contains(.provider) { providerID = try reader.readValue() }
        if parts.contains(.allocation) { allocationRole = try reader.readValue() }
    }
}

extension ResourceValue {
    /// `u8 kind | u64 thousandths, or list of u64 begin, u64 end, or texts`
    func encode(into writer: inout ByteWriter) {
        writer.write(kind.rawValue)
        switch self {
        case .scalar(let amount): writer.write(amount)
        case .ranges(let ranges): writer.write(ranges: ranges.ranges)
        case .set(let items): writer.write(texts: items.items)
        }
    }

    init(decoding reader: inout ByteReader) throws(DecodeError) {
        let kind: Kind = try reader.readNumber("kind of a value")
        switch kind {
        case .scalar: self = .scalar(try reader.readValue())
        case .ranges:
            let stated = try reader.readRanges()
            self = .ranges(try sound { () throws(RegistryRefusal) in try IntegerRanges(stated) })
        case .set:
            let items = try reader.readTexts()
            self = .set(try sound { () throws(RegistryRefusal) in try ItemSet(items) })
        }
    }
}

/// What is read was checked before it was stored.
func sound<Value>(_ body: () throws(RegistryRefusal) -> Value) throws(DecodeError) -> Value {
    do throws(RegistryRefusal) {
        return try body()
    } catch {
        throw .invalid("stored value: \(error)")
    }
}
