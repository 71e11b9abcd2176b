import MesosRegistry
import RegistryModel
import Testing

/// Documents of a seed: their parts in any order, numbers in any form, and here and there what nobody knows.
private struct DocumentMaker {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next(_ bound: Int) -> Int {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((mixed ^ (mixed >> 31)) >> 1) % bound
    }

    private mutating func isTrue(_ ofTen: Int) -> Bool { next(10) < ofTen }

    private mutating func one<Value>(_ values: [Value]) -> Value { values[next(values.count)] }

    private mutating func some<Value>(_ most: Int, _ body: (inout DocumentMaker, Int) -> Value) -> [Value] {
        var values: [Value] = []
        for number in 0..<next(most + 1) { values.append(body(&self, number)) }
        return values
    }

    /// In any order, and one time in four with a member that nobody knows.
    private mutating func object(_ members: [(String, JSONValue?)]) -> JSONValue {
        var left: [JSONValue.Member] = []
        for (name, value) in members {
            if let value { left.append(JSONValue.Member(Array(name.utf8), value)) }
        }
        if next(4) == 0 { left.append(JSONValue.Member(Array("x-\(next(9))".utf8), unknown(depth: 0))) }
        var mixed: [JSONValue.Member] = []
        while !left.isEmpty { mixed.append(left.remove(at: next(left.count))) }
        return .object(mixed)
    }

    private mutating func unknown(depth: Int) -> JSONValue {
        switch next(depth < 3 ? 8 : 6) {
        case 0: return .null
        case 1: return .bool(isTrue(5))
        case 2: return amount(1_000_000)
        case 3: return .text(one(["", "a", "\"\\\n", "é", "\u{1F600}"]))
        case 4: return .array([])
        case 5: return .object([])
        case 6: return .array([unknown(depth: depth + 1), unknown(depth: depth + 1)])
        default:
            return .object([
                JSONValue.Member(Array("b".utf8), unknown(depth: depth + 1)), JSONValue.Member([], .null),
                JSONValue.Member(Array("a".utf8), unknown(depth: depth + 1)),
            ])
        }
    }

    private func digits(_ text: String) -> JSONValue { .number(Array(text.utf8)) }

    /// At least 1.
    private mutating func amount(_ bound: Int) -> JSONValue {
        let whole = 1 + next(bound)
        switch next(5) {
        case 0: return digits("\(whole).0")
        case 1: return digits("\(whole)e0")
        case 2: return digits("\(whole).\(next(9_999))")
        default: return digits("\(whole)")
        }
    }

    private mutating func maybe(_ ofTen: Int, _ body: (inout DocumentMaker) -> JSONValue) -> JSONValue? {
        isTrue(ofTen) ? body(&self) : nil
    }

    private mutating func time(_ nanoseconds: Int) -> JSONValue { object([("nanoseconds", digits("\(nanoseconds)"))]) }

    private mutating func id(_ text: String) -> JSONValue { object([("value", .text(text))]) }

    // MARK: - Agents

    private mutating func labels() -> JSONValue {
        let labels = some(2) { maker, number in
            let value = maker.maybe(5) { _ in .text("v") }
            return maker.object([("key", .text("k\(number)")), ("value", value)])
        }
        return object([("labels", labels.isEmpty && isTrue(5) ? nil : .array(labels))])
    }

    /// Each has values of its own, so that no two of them have anything in common.
    private mutating func resource(_ number: Int, isCheckpointing: Bool) -> JSONValue {
        var members: [(String, JSONValue?)] = []
        let kind = one(["cpus", "mem", "gpus", "ports", "zones", "disk", "disk", "disk"])
        members.append(("name", .text(kind)))
        switch kind {
        case "ports":
            let begin = number * 1_000
            let ranges = some(3) { maker, position in
                let first = begin + position * 100
                let last = first + maker.next(100)
                return maker.object([("begin", maker.digits("\(first)")), ("end", maker.digits("\(last)"))])
            }
            members.append(("type", .text("RANGES")))
            members.append(("ranges", ranges.isEmpty && isTrue(5) ? nil : object([("range", .array(ranges))])))
        case "zones":
            let items: [JSONValue] = some(3) { _, position in .text("z\(number)-\(9 - position)") }
            members.append(("type", .text("SET")))
            members.append(("set", items.isEmpty && isTrue(5) ? nil : object([("item", .array(items))])))
        case "gpus":
            members.append(("type", .text("SCALAR")))
            members.append(("scalar", object([("value", digits("\(next(8))"))])))
        default:
            members.append(("type", .text("SCALAR")))
            members.append(("scalar", object([("value", amount(10_000))])))
        }
        let isVolume = kind == "disk" && isCheckpointing && isTrue(3)
        let isRevocable = !isVolume && isTrue(1)
        appendStack(isVolume ? 1 : 0, mayBeDynamic: isCheckpointing && !isRevocable, to: &members)
        if isRevocable { members.append(("revocable", object([]))) }
        if kind == "disk" { appendDisk(number, isVolume: isVolume, to: &members) }
        if isTrue(1) { members.append(("provider_id", id("rp"))) }
        return object(members)
    }

    /// - Parameter least: how many levels there have to be.
    private mutating func appendStack(_ least: Int, mayBeDynamic: Bool, to members: inout [(String, JSONValue?)]) {
        let role = one(["web", "db", "a/b"])
        let isDynamic = mayBeDynamic && (least > 0 || isTrue(5))
        func reservation(_ maker: inout DocumentMaker, _ type: String?, _ role: String?) -> JSONValue {
            let principal = maker.maybe(5) { _ in .text("p") }
            let labels = maker.maybe(3) { $0.labels() }
            let (typeText, roleText) = (type.map { JSONValue.text($0) }, role.map { JSONValue.text($0) })
            return maker.object([
                ("type", typeText), ("role", roleText), ("principal", principal), ("labels", labels),
            ])
        }
        switch next(4) {
        case 0 where least == 0: members.append(("role", isTrue(5) ? .text("*") : nil))
        case 1 where mayBeDynamic:
            let bottom = reservation(&self, isTrue(5) ? "STATIC" : "DYNAMIC", role)
            members.append(("reservations", .array([bottom, reservation(&self, "DYNAMIC", role + "/c")])))
        case 2: members.append(("reservations", .array([reservation(&self, isDynamic ? "DYNAMIC" : "STATIC", role)])))
        default:
            members.append(("role", .text(role)))
            if isDynamic { members.append(("reservation", reservation(&self, nil, nil))) }
        }
    }

    private mutating func appendDisk(_ number: Int, isVolume: Bool, to members: inout [(String, JSONValue?)]) {
        var parts: [(String, JSONValue?)] = []
        if isTrue(6) {
            let type = one(["PATH", "MOUNT", "BLOCK", "RAW"])
            let root = maybe(7) { maker in maker.object([("root", .text("/d\(maker.next(2))"))]) }
            let metadata = maybe(3) { $0.labels() }
            let id = maybe(3) { maker in .text("i\(maker.next(3))") }
            let vendor = maybe(2) { _ in .text("v") }
            let profile = maybe(2) { _ in .text("f") }
            let (path, mount) = (type == "PATH" ? root : nil, type == "MOUNT" ? root : nil)
            let source = object([
                ("type", .text(type)), ("path", path), ("mount", mount), ("id", id), ("vendor", vendor),
                ("profile", profile), ("metadata", metadata),
            ])
            parts.append(("source", source))
        }
        if isVolume {
            let principal = maybe(5) { _ in .text("p") }
            parts.append(("persistence", object([("id", .text("v\(number)")), ("principal", principal)])))
            parts.append(
                ("volume", object([("container_path", .text("c")), ("mode", .text(one(["RW", "RO"])))])))
            if isTrue(2) { members.append(("shared", object([]))) }
        }
        if !parts.isEmpty { members.append(("disk", object(parts))) }
    }

    private mutating func attribute(_ number: Int) -> JSONValue {
        let name: (String, JSONValue?) = ("name", .text("a\(next(3))"))
        switch next(4) {
        case 0: return object([name, ("type", .text("SCALAR")), ("scalar", object([("value", amount(99))]))])
        case 1: return object([name, ("type", .text("TEXT")), ("text", object([("value", .text("t\(number)"))]))])
        case 2:
            let items = maybe(7) { $0.object([("item", .array([.text("i")]))]) }
            return object([name, ("type", .text("SET")), ("set", items)])
        default:
            let range = object([("begin", digits("\(number)")), ("end", digits("\(number + next(9))"))])
            return object([name, ("type", .text("RANGES")), ("ranges", object([("range", .array([range]))]))])
        }
    }

    private mutating func standing(_ members: [(String, JSONValue?)], _ isDeactivated: Bool) -> JSONValue {
        var members = members
        members.append(("deactivated", isDeactivated ? .bool(true) : maybe(5) { _ in .bool(false) }))
        if isDeactivated, isTrue(6) {
            let period = maybe(5) { $0.object([("nanoseconds", $0.digits("\($0.next(1_000_000))"))]) }
            let marksGone = maybe(5) { maker in .bool(maker.isTrue(5)) }
            let config = object([("max_grace_period", period), ("mark_gone", marksGone)])
            let state = one(["DRAINING", "DRAINED"])
            members.append(("drain_info", object([("state", .text(state)), ("config", config)])))
        }
        return object(members)
    }

    private mutating func agent(_ number: Int, _ isDeactivated: Bool) -> JSONValue {
        let isCheckpointing = isTrue(5)
        let resources = some(6) { $0.resource($1, isCheckpointing: isCheckpointing) }
        let attributes = some(4) { $0.attribute($1) }
        let port = maybe(5) { $0.amount(60_000).whole }
        let checkpoint = isCheckpointing ? JSONValue.bool(true) : maybe(5) { _ in .bool(false) }
        let domain = maybe(2) { maker in .object([JSONValue.Member([0x64], maker.unknown(depth: 1))]) }
        let id = self.id("a\(number)")
        var members: [(String, JSONValue?)] = [
            ("id", id), ("hostname", .text("h\(number)")), ("port", port), ("checkpoint", checkpoint), ("domain", domain),
        ]
        if !resources.isEmpty || isTrue(5) { members.append(("resources", .array(resources))) }
        if !attributes.isEmpty || isTrue(5) { members.append(("attributes", .array(attributes))) }
        return standing([("info", object(members))], isDeactivated)
    }

    // MARK: - The rest

    private mutating func mixed(_ values: [JSONValue]) -> JSONValue {
        var (left, mixed): ([JSONValue], [JSONValue]) = (values, [])
        while !left.isEmpty { mixed.append(left.remove(at: next(left.count))) }
        return .array(mixed)
    }

    private mutating func unavailability() -> JSONValue {
        let start = time(next(1_000_000) - 500_000)
        return object([("start", start), ("duration", maybe(5) { maker in maker.time(maker.next(1_000)) })])
    }

    private mutating func maintenance() -> [(String, JSONValue?)] {
        guard isTrue(6) else { return [] }
        var (machines, windows): ([JSONValue], [JSONValue]) = ([], [])
        for window in 0..<next(4) {
            var ids: [JSONValue] = []
            for machine in 0...next(3) {
                let (name, ip) = ("host-\(window)-\(machine)", "10.0.\(window).\(machine)")
                let parts = 1 + next(3)
                func members(_ name: String) -> [(String, JSONValue?)] {
                    [("hostname", parts & 1 != 0 ? .text(name) : nil), ("ip", parts & 2 != 0 ? .text(ip) : nil)]
                }
                ids.append(object(members(name)))
                let info = object([
                    ("id", object(members(isTrue(3) ? name.uppercased() : name))),
                    ("mode", .text(one(["DRAINING", "DOWN"]))), ("unavailability", unavailability()),
                ])
                machines.append(object([("info", info)]))
            }
            windows.append(object([("machine_ids", .array(ids)), ("unavailability", unavailability())]))
        }
        return [
            ("machines", object([("machines", mixed(machines))])),
            ("schedules", .array([object([("windows", windows.isEmpty && isTrue(5) ? nil : .array(windows))])])),
        ]
    }

    private mutating func numbers(_ names: [String], _ bound: Int) -> JSONValue {
        var members: [JSONValue.Member] = []
        for name in names {
            let number = isTrue(1) ? digits("0") : amount(bound)
            members.append(JSONValue.Member(Array(name.utf8), object([("value", number)])))
        }
        return .object(members)
    }

    private mutating func quotas() -> [(String, JSONValue?)] {
        let configs = some(4) { maker, number in
            let limits = maker.numbers(["mem", "disk", "cpus"], 1_000_000)
            let guarantees = maker.maybe(5) { $0.numbers(["gpus", "x"], 100) }
            return maker.object([("role", .text("q\(number)")), ("guarantees", guarantees), ("limits", limits)])
        }
        let legacy = some(3) { maker, number in
            let guarantee: [JSONValue] = ["mem", "cpus"].map { name in
                let scalar = maker.object([("value", maker.amount(100))])
                let role = maker.maybe(5) { _ in .text("*") }
                return maker.object([
                    ("name", .text(name)), ("type", .text("SCALAR")), ("scalar", scalar), ("role", role),
                ])
            }
            let principal = maker.maybe(5) { _ in .text("p") }
            let info = maker.object([
                ("role", .text("l\(number)")), ("principal", principal), ("guarantee", .array(guarantee)),
            ])
            return maker.object([("info", info)])
        }
        return [("quota_configs", mixed(configs)), ("quotas", mixed(legacy))]
    }

    mutating func document() -> JSONValue {
        var names: [String] = []
        let isOneDeactivated = isTrue(5)
        let agents = some(5) { $0.agent($1, isOneDeactivated && $0.isTrue(5)) }
        let away = some(3) { maker, number in
            let since = maker.time(maker.next(1_000_000))
            return maker.standing([("id", maker.id("u\(number)")), ("timestamp", since)], isOneDeactivated)
        }
        let gone = some(3) { maker, number in
            maker.object([("id", maker.id("g\(number)")), ("timestamp", maker.time(maker.next(1_000_000)))])
        }
        if isOneDeactivated { names.append("AGENT_DRAINING") }
        var members = maintenance() + quotas()
        if case .array(let configs)? = members.first(where: { $0.0 == "quota_configs" })?.1, !configs.isEmpty {
            names.append("QUOTA_V2")
        }
        if isTrue(3) { names.append("FUTURE") }
        let weights = some(4) { maker, number in
            maker.object([("info", maker.object([("role", .text("w\(number)/x")), ("weight", maker.amount(10))]))])
        }
        let providers = some(4) { maker, number in
            let name = maker.maybe(5) { _ in .text("n") }
            return maker.object([("id", maker.id("p\(number)")), ("type", .text("t")), ("name", name)])
        }
        let removed = some(2) { maker, number in maker.object([("id", maker.id("r\(number)"))]) }
        var capabilities: [JSONValue] = []
        for name in names { capabilities.append(object([("capability", .text(name))])) }
        if isTrue(5) {
            let port = maybe(5) { $0.amount(60_000).whole }
            let hostname = maybe(7) { maker in .text(maker.one(["", "m.example"])) }
            let ip = digits("\(next(4_000_000_000))")
            let info = object([("id", .text("m")), ("ip", ip), ("port", port), ("hostname", hostname)])
            members.append(("master", object([("info", info)])))
        }
        members += [
            ("slaves", object([("slaves", mixed(agents))])), ("unreachable", object([("slaves", .array(away))])),
            ("gone", object([("slaves", .array(gone))])), ("weights", mixed(weights)),
            ("minimum_capabilities", mixed(capabilities)),
            (
                "resource_provider_registry",
                object([
                    ("resource_providers", mixed(providers)), ("removed_resource_providers", mixed(removed)),
                ])
            ),
        ]
        return object(members)
    }
}

extension JSONValue {
    /// Of a number its whole part.
    fileprivate var whole: JSONValue {
        guard case .number(let digits) = self else { return self }
        return .number(Array(digits.prefix { (0x30...0x39).contains($0) }))
    }
}

@Suite("Random documents")
struct RandomDocumentTests {
    @Test("what goes in comes out, in canonical form", arguments: 1...400)
    func roundTrip(seed: UInt64) throws {
        var maker = DocumentMaker(seed: seed)
        let text = MesosRegistryTests.text(maker.document())
        #expect(problems(text) == [], "\(text)")
        #expect(try imported(text, chunkSize: Int(1 + seed % 9)) == canonical(text), "\(text)")
    }
}
