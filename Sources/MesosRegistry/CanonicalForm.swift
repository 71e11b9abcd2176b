internal import RegistryModel

/// Of which parts a document is made, as far as its canonical form depends on it. Documents that say the same have one
/// canonical form: members by name, numbers in one way, what has a default written out, what says nothing left out, lists
/// whose order says nothing sorted.
indirect enum Shape: Sendable {
    /// Members by name, and numbers in one way; the rest as it is.
    case any
    case object([Part])
    case list(of: Shape, Order = .kept)

    struct Part: Sendable {
        var name: String
        var shape: Shape
        /// It is written out where it is missing.
        var standard: JSONValue?
        /// It says nothing when it is empty. A list never does.
        var isWrapper: Bool

        init(_ name: String, _ shape: Shape = .any, standard: JSONValue? = nil, isWrapper: Bool = false) {
            self.name = name
            self.shape = shape
            self.standard = standard
            self.isWrapper = isWrapper
        }
    }

    enum Order: Sendable {
        case kept
        /// By the bytes of what stands at the end of these names, then by all of it.
        case by([String])

        static let canonicalBytes = Order.by([])
    }
}

extension JSONValue {
    /// The canonical form of a registry.
    package var canonicalRegistry: JSONValue { canonical(.registry) }

    func canonical(_ shape: Shape = .any) -> JSONValue {
        switch self {
        case .null, .bool, .string: return self
        case .number(let digits): return Self.canonicalNumber(digits)
        case .array(let values):
            guard case .list(let item, let order) = shape else { return .array(values.map { $0.canonical() }) }
            let items = values.map { $0.canonical(item) }
            switch order {
            case .kept: return .array(items)
            case .by(let names): return .array(Self.sorted(items, by: names))
            }
        case .object(let members):
            var parts: [Shape.Part] = []
            if case .object(let known) = shape { parts = known }
            var kept: [Member] = members.compactMap { member in
                let part = parts.first { $0.name.utf8.elementsEqual(member.name) }
                let value = member.value.canonical(part?.shape ?? .any)
                return part?.isDropped(value) == true ? nil : Member(member.name, value)
            }
            for part in parts {
                guard let standard = part.standard, !kept.contains(where: { $0.name.elementsEqual(part.name.utf8) })
                else { continue }
                kept.append(Member(Array(part.name.utf8), standard))
            }
            return .object(kept.sorted { $0.name.lexicographicallyPrecedes($1.name) })
        }
    }

    private static func sorted(_ items: [JSONValue], by names: [String]) -> [JSONValue] {
        let keyed = items.map { item in
            var key: JSONValue? = item
            for name in names { key = key?[name] }
            return (first: key?.bytes ?? [], second: item.bytes, item: item)
        }
        let inOrder = keyed.sorted { left, right in
            guard left.first != right.first else { return left.second.lexicographicallyPrecedes(right.second) }
            return left.first.lexicographicallyPrecedes(right.first)
        }
        return inOrder.map { $0.item }
    }

    /// Whole numbers of 64 bits keep all of their digits; what is not one is a double.
    private static func canonicalNumber(_ digits: [UInt8]) -> JSONValue {
        let text = String(decoding: digits, as: UTF8.self)
        if let whole = Int64(text) { return integer(whole) }
        if let whole = UInt64(text) { return integer(whole) }
        guard let number = Double(text), number.isFinite else { return .number(digits) }
        return double(number)
    }
}

extension Shape.Part {
    fileprivate func isDropped(_ value: JSONValue) -> Bool {
        guard value.isEmptyContainer else { return false }
        if case .list = shape { return true }
        return isWrapper
    }
}

// MARK: - The registry of Mesos

extension Shape {
    private static let labels = Shape.object([Part("labels", .list(of: .any))])

    private static let reservation = Shape.object([Part("labels", labels)])

    static let resource = Shape.object([
        Part("ranges", .object([Part("range", .list(of: .any))]), isWrapper: true),
        Part("set", .object([Part("item", .list(of: .any))]), isWrapper: true),
        Part("reservation", reservation),
        Part("reservations", .list(of: reservation)),
        Part("disk", .object([Part("source", .object([Part("metadata", labels)]))])),
    ])

    static let attribute = Shape.object([
        Part("ranges", .object([Part("range", .list(of: .any))]), isWrapper: true),
        Part("set", .object([Part("item", .list(of: .any))]), isWrapper: true),
    ])

    private static let drain = Part(
        "drain_info",
        .object([Part("config", .object([Part("mark_gone", standard: .bool(false))]))]))

    private static let deactivated = Part("deactivated", standard: .bool(false))

    private static let agent = Shape.object([
        Part(
            "info",
            .object([
                Part("resources", .list(of: resource, .canonicalBytes)),
                Part("attributes", .list(of: attribute)),
                Part("port", standard: .integer(AgentInfo.portDefault)),
                Part("checkpoint", standard: .bool(false)),
            ])),
        drain, deactivated,
    ])

    private static let window = Shape.object([Part("machine_ids", .list(of: .any))])

    private static func wrapper(_ name: String, _ parts: [Part]) -> Part { Part(name, .object(parts), isWrapper: true) }

    static let quotaConfig = Shape.object([Part("guarantees", isWrapper: true), Part("limits", isWrapper: true)])

    static let registry = Shape.object([
        Part("master", .object([Part("info", .object([Part("port", standard: .integer(5_050))]))])),
        wrapper("slaves", [Part("slaves", .list(of: agent, .by(["info", "id", "value"])))]),
        wrapper("unreachable", [Part("slaves", .list(of: .object([drain, deactivated])))]),
        wrapper("gone", [Part("slaves", .list(of: .any))]),
        wrapper("machines", [Part("machines", .list(of: .any, .by(["info", "id"])))]),
        Part("schedules", .list(of: .object([Part("windows", .list(of: window))]))),
        Part(
            "quotas",
            .list(
                of: .object([Part("info", .object([Part("guarantee", .list(of: resource, .canonicalBytes))]))]),
                .by(["info", "role"]))),
        Part("quota_configs", .list(of: quotaConfig, .by(["role"]))),
        Part("weights", .list(of: .any, .by(["info", "role"]))),
        wrapper(
            "resource_provider_registry",
            [
                Part("resource_providers", .list(of: .any, .by(["id", "value"]))),
                Part("removed_resource_providers", .list(of: .any, .by(["id", "value"]))),
            ]),
        Part("minimum_capabilities", .list(of: .any, .by(["capability"]))),
    ])
}
