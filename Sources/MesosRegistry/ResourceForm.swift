internal import RegistryModel

/// Resources as they stand in a document. They are kept as they were stated wherever that says what is stored: in the
/// former form or the later one, whole or in parts, with what this release does not know.
enum ResourceForm {
    // MARK: - From a document

    /// - Returns: what is stated, and the items themselves if they would be written in another way; nil: something in
    ///   them is a problem.
    static func read(
        _ items: [JSONValue], _ path: Path, _ problems: ProblemList
    ) -> (claims: [ResourceClaim], form: [JSONValue]?)? {
        let readers = items.enumerated().map { ObjectReader($0.element, path.adding($0.offset), problems) }
        let before = problems.problems.count
        var claims: [ResourceClaim] = []
        var resources: [Resource] = []
        for reader in readers {
            let stated = claim(reader)
            claims.append(stated)
            let resource = problems.catching(reader.path) { () throws(RegistryRefusal) in try stated.checked() }
            if let resource { resources.append(resource) }
        }
        guard problems.problems.count == before else { return nil }
        let stored = problems.catching(path) { () throws(RegistryRefusal) in
            try ResourceList.check(resources)
            return try ledger(of: resources)
        }
        guard let stored else { return nil }
        let stated = sorted(items)
        return (claims, stated == sorted(stored.map { json($0) }) ? nil : stated)
    }

    /// In canonical form.
    static func sorted(_ items: [JSONValue]) -> [JSONValue] {
        JSONValue.array(items).canonical(.list(of: .resource, .canonicalBytes)).items
    }

    static func claim(_ reader: ObjectReader) -> ResourceClaim {
        let type = reader.requiredString("type")
        var claim = ResourceClaim(
            name: reader.requiredString("name"), type: types.first { $0.0.utf8.elementsEqual(type) }?.1)
        claim.scalar = reader.object("scalar")?.requiredDouble("value")
        if let stated = reader.object("ranges") {
            claim.ranges = ranges(stated)
        } else if claim.type == .ranges {
            claim.ranges = []
        }
        if let stated = reader.object("set") {
            claim.set = stated.strings("item")
        } else if claim.type == .set {
            claim.set = []
        }
        claim.formerRole = reader.string("role")
        if let stated = reader.object("reservation") {
            claim.formerReservation = ResourceClaim.ReservationClaim(
                principal: stated.string("principal"), labels: labels(stated, "labels"))
        }
        for level in reader.fewObjects("reservations") {
            let kind = level.string("type") ?? []
            claim.reservations.append(
                ResourceClaim.ReservationClaim(
                    kind: levels.first { $0.0.utf8.elementsEqual(kind) }?.1, role: level.string("role"),
                    principal: level.string("principal"), labels: labels(level, "labels")))
        }
        if let stated = reader.object("disk") { claim.disk = disk(stated) }
        claim.isRevocable = reader.object("revocable") != nil
        claim.isShared = reader.object("shared") != nil
        claim.providerID = reader.object("provider_id")?.requiredString("value")
        claim.allocationRole = reader.object("allocation_info")?.requiredString("role")
        return claim
    }

    private static let types: [(String, ResourceClaim.ValueType)] = [
        ("SCALAR", .scalar), ("RANGES", .ranges), ("SET", .set), ("TEXT", .text),
    ]
    private static let levels: [(String, Reservation.Kind)] = [("STATIC", .static), ("DYNAMIC", .dynamic)]
    private static let kinds: [(String, DiskSource.Kind)] = [
        ("PATH", .path), ("MOUNT", .mount), ("BLOCK", .block), ("RAW", .raw),
    ]

    static func ranges(_ reader: ObjectReader) -> [(begin: UInt64, end: UInt64)] {
        var ranges: [(begin: UInt64, end: UInt64)] = []
        for range in reader.fewObjects("range") {
            guard let begin = range.requiredInteger("begin", UInt64.self),
                let end = range.requiredInteger("end", UInt64.self)
            else { continue }
            ranges.append((begin: begin, end: end))
        }
        return ranges
    }

    private static func labels(_ reader: ObjectReader, _ name: String) -> [Labels.Label]? {
        guard let labels = reader.object(name) else { return nil }
        return labels.fewObjects("labels").map { label in
            Labels.Label(key: label.requiredString("key"), value: label.string("value"))
        }
    }

    private static func disk(_ reader: ObjectReader) -> ResourceClaim.DiskClaim {
        var disk = ResourceClaim.DiskClaim()
        if let stated = reader.object("source") {
            let kind = stated.requiredString("type")
            var source = ResourceClaim.SourceClaim(kind: kinds.first { $0.0.utf8.elementsEqual(kind) }?.1)
            if let path = stated.object("path") { source.path = ResourceClaim.SourceClaim.Root(path.string("root")) }
            if let mount = stated.object("mount") { source.mount = ResourceClaim.SourceClaim.Root(mount.string("root")) }
            source.vendor = stated.string("vendor")
            source.id = stated.string("id")
            source.metadata = labels(stated, "metadata")
            source.profile = stated.string("profile")
            disk.source = source
        }
        if let stated = reader.object("persistence") {
            disk.persistence = ResourceClaim.PersistenceClaim(
                id: stated.requiredString("id"), principal: stated.string("principal"))
        }
        if let stated = reader.object("volume") {
            let isReadOnly: Bool? = stated.requiredWord("mode", ["RW": false, "RO": true])
            disk.volume = VolumeMount(
                containerPath: stated.requiredString("container_path"), isReadOnly: isReadOnly ?? false,
                hostPath: stated.string("host_path"))
        }
        return disk
    }

    /// What an agent's ledger makes of these resources: those of a kind that can be divided are one.
    private static func ledger(of resources: [Resource]) throws(RegistryRefusal) -> [Resource] {
        var entries: [Resource] = []
        var positions: [[UInt8]: Int] = [:]
        for resource in resources where !resource.value.isEmpty {
            let kind = resource.kindBytes
            if resource.isDivisible, let position = positions[kind] {
                if let sum = try entries[position].value.adding(resource.value) { entries[position].value = sum }
            } else {
                positions[kind] = entries.count
                entries.append(resource.unallocated)
            }
        }
        return entries
    }

    // MARK: - Into a document

    /// - Parameters:
    ///   - entries: what an agent has.
    ///   - form: the items of the document that it came with; nil: as this release writes them.
    static func write(_ entries: [Resource], form: [JSONValue]?) -> [JSONValue] {
        guard let form else { return entries.map { json($0) } }
        let problems = ProblemList()
        var formItems: [[UInt8]: [JSONValue]] = [:]
        var formResources: [[UInt8]: [Resource]] = [:]
        for item in form {
            let stated = claim(ObjectReader(item, .root, problems))
            guard let resource = try? stated.checked() else { continue }
            formItems[resource.kindBytes, default: []].append(item)
            formResources[resource.kindBytes, default: []].append(resource)
        }
        var written: [JSONValue] = []
        let entriesByKind = Dictionary(grouping: entries) { $0.kindBytes }
        for kind in Set(entriesByKind.keys).union(formItems.keys) {
            let entries = entriesByKind[kind] ?? []
            if let items = formItems[kind], let known = try? ledger(of: formResources[kind] ?? []),
                isSame(known, entries)
            {
                written += items
            } else {
                written += entries.map { json($0) }
            }
        }
        return written
    }

    /// Also in what takes no part in equality.
    private static func isSame(_ left: [Resource], _ right: [Resource]) -> Bool {
        func bytes(_ resources: [Resource]) -> [[UInt8]] {
            resources.map { $0.encoded() }.sorted { $0.lexicographicallyPrecedes($1) }
        }
        return left.count == right.count && bytes(left) == bytes(right)
    }

    /// At most one level is written in the former form, which every release reads.
    static func json(_ resource: Resource) -> JSONValue {
        let form = ValueForm(resource.value)
        var former: (role: JSONValue, reservation: JSONValue?)?
        if resource.stack.count <= 1 { former = formerJSON(resource.stack.first) }
        let later: JSONValue? = former == nil ? .array(resource.stack.map { levelJSON($0) }) : nil
        let disk: JSONValue? = resource.disk.map { diskJSON($0) }
        let revocable: JSONValue? = resource.isRevocable ? .object([]) : nil
        let shared: JSONValue? = resource.isShared ? .object([]) : nil
        var provider: JSONValue?
        if let id = resource.providerID { provider = .members(["value": .string(id.bytes)]) }
        return JSONValue.members([
            "name": .string(resource.name), "type": .text(form.type), "scalar": form.scalar, "ranges": form.ranges,
            "set": form.set, "role": former?.role, "reservation": former?.reservation, "reservations": later,
            "disk": disk, "revocable": revocable, "shared": shared, "provider_id": provider,
        ]).canonical(.resource)
    }

    /// Nil: it has to be written in the later form.
    private static func formerJSON(_ level: Reservation?) -> (role: JSONValue, reservation: JSONValue?)? {
        guard let level else { return (.text("*"), nil) }
        switch level.kind {
        case .static:
            guard level.principal == nil, level.labels == nil else { return nil }
            return (.string(level.role.bytes), nil)
        case .dynamic:
            let reservation = JSONValue.members([
                "principal": string(level.principal), "labels": labelsJSON(level.labels),
            ])
            return (.string(level.role.bytes), reservation)
        }
    }

    private static func levelJSON(_ level: Reservation) -> JSONValue {
        .members([
            "type": .text(level.kind == .static ? "STATIC" : "DYNAMIC"), "role": .string(level.role.bytes),
            "principal": string(level.principal), "labels": labelsJSON(level.labels),
        ])
    }

    private static func labelsJSON(_ labels: Labels?) -> JSONValue? {
        guard let labels else { return nil }
        let items: [JSONValue] = labels.items.map { label in
            JSONValue.members(["key": .string(label.key), "value": string(label.value)])
        }
        return .members(["labels": .array(items)])
    }

    private static func diskJSON(_ disk: DiskInfo) -> JSONValue {
        var (persistence, volume): (JSONValue?, JSONValue?) = (nil, nil)
        if let stored = disk.persistence {
            persistence = .members(["id": .string(stored.id.bytes), "principal": string(stored.principal)])
        }
        if let stored = disk.volume {
            volume = .members([
                "container_path": .string(stored.containerPath), "mode": .text(stored.isReadOnly ? "RO" : "RW"),
                "host_path": string(stored.hostPath),
            ])
        }
        let source: JSONValue? = disk.source.map { sourceJSON($0) }
        return .members(["source": source, "persistence": persistence, "volume": volume])
    }

    private static func sourceJSON(_ source: DiskSource) -> JSONValue {
        var root: JSONValue?
        if let path = source.root { root = .members(["root": .string(path)]) }
        let type = kinds.first { $0.1 == source.kind }?.0 ?? "UNKNOWN"
        return .members([
            "type": .text(type), "path": source.kind == .path ? root : nil, "mount": source.kind == .mount ? root : nil,
            "vendor": string(source.vendor), "id": string(source.id), "metadata": labelsJSON(source.metadata),
            "profile": string(source.profile),
        ])
    }
}

/// Nil where there is nothing.
func string(_ bytes: [UInt8]?) -> JSONValue? { bytes.map { JSONValue.string($0) } }

extension JSONValue {
    /// Of an array.
    var items: [JSONValue] {
        guard case .array(let items) = self else { return [] }
        return items
    }
}

/// A value as a resource or an attribute has it.
private struct ValueForm {
    let type: String
    var scalar: JSONValue?
    var ranges: JSONValue?
    var set: JSONValue?
    var text: JSONValue?

    init(_ value: ResourceValue) {
        switch value {
        case .scalar(let amount): self.init(scalar: amount.double)
        case .ranges(let ranges): self.init(ranges: ranges.ranges)
        case .set(let set): self.init(set: set.items)
        }
    }

    init(_ value: Attribute.Value) {
        switch value {
        case .scalar(let number): self.init(scalar: number)
        case .ranges(let ranges): self.init(ranges: ranges)
        case .set(let items): self.init(set: items)
        case .text(let text): self.init(text: text)
        }
    }

    private init(scalar: Double) {
        type = "SCALAR"
        self.scalar = .members(["value": .double(scalar)])
    }

    private init(text: [UInt8]) {
        type = "TEXT"
        self.text = .members(["value": .string(text)])
    }

    private init(ranges: [ClosedRange<UInt64>]) {
        type = "RANGES"
        let items: [JSONValue] = ranges.map { range in
            JSONValue.members(["begin": .integer(range.lowerBound), "end": .integer(range.upperBound)])
        }
        self.ranges = .members(["range": .array(items)])
    }

    private init(set: [[UInt8]]) {
        type = "SET"
        let items: [JSONValue] = set.map { JSONValue.string($0) }
        self.set = .members(["item": .array(items)])
    }
}

// MARK: - Attributes

/// What is said of an agent. It is kept in the words of the document like a resource.
enum AttributeForm {
    /// - Returns: what is stated, and the items themselves if they would be written in another way.
    static func read(
        _ items: [JSONValue], _ path: Path, _ problems: ProblemList
    ) -> (attributes: [Attribute], form: [JSONValue]?) {
        var attributes: [Attribute] = []
        for (position, item) in items.enumerated() {
            if let attribute = stated(ObjectReader(item, path.adding(position), problems)) {
                attributes.append(attribute)
            }
        }
        let form = items.map { $0.canonical(.attribute) }
        return (attributes, form == attributes.map { json($0) } ? nil : form)
    }

    private static func stated(_ reader: ObjectReader) -> Attribute? {
        let name = reader.requiredString("name")
        let type: ResourceClaim.ValueType? = reader.requiredWord(
            "type", ["SCALAR": .scalar, "RANGES": .ranges, "SET": .set, "TEXT": .text])
        switch type {
        case .scalar:
            guard let number = reader.requiredObject("scalar")?.requiredDouble("value") else { return nil }
            return Attribute(name: name, value: .scalar(number))
        case .ranges:
            var ranges: [ClosedRange<UInt64>] = []
            for stated in reader.object("ranges").map({ ResourceForm.ranges($0) }) ?? [] {
                guard stated.begin <= stated.end else {
                    reader.problem("ranges", "a range ends before it begins")
                    return nil
                }
                ranges.append(stated.begin...stated.end)
            }
            return Attribute(name: name, value: .ranges(ranges))
        case .set: return Attribute(name: name, value: .set(reader.object("set")?.strings("item") ?? []))
        case .text:
            guard let text = reader.requiredObject("text") else { return nil }
            return Attribute(name: name, value: .text(text.requiredString("value")))
        case nil: return nil
        }
    }

    static func json(_ attribute: Attribute) -> JSONValue {
        let form = ValueForm(attribute.value)
        return JSONValue.members([
            "name": .string(attribute.name), "type": .text(form.type), "scalar": form.scalar, "ranges": form.ranges,
            "set": form.set, "text": form.text,
        ]).canonical(.attribute)
    }

    /// - Parameter form: the items of the document that they came with.
    static func write(_ attributes: [Attribute], form: [JSONValue]?) -> [JSONValue] {
        if let form, read(form, .root, ProblemList()).attributes == attributes { return form }
        return attributes.map { json($0) }
    }
}
