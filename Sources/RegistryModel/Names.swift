/// The name of a role: `*`, or components joined by `/`. Compared as bytes.
public struct RoleName: Hashable, Comparable, Sendable {
    public let bytes: [UInt8]

    /// Whom everything belongs to that is reserved to nobody.
    public static let any = RoleName(unchecked: Array("*".utf8))

    public static let sizeMax = 1_024
    /// Components: what is reserved to a role or held for it counts for each role above it, too.
    public static let depthMax = 64

    package init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// - Throws: `role.*`.
    public init(_ bytes: [UInt8]) throws(RegistryRefusal) {
        self.bytes = bytes
        guard bytes != Self.any.bytes else { return }
        let slash = UInt8(ascii: "/")
        func refusal(_ rule: RegistryRule, _ why: String) -> RegistryRefusal {
            RegistryRefusal(rule, "role \(text(Array(bytes.prefix(80)))): \(why)")
        }
        guard bytes.count <= Self.sizeMax else {
            throw refusal(.roleTooLong, "\(bytes.count) bytes, and \(Self.sizeMax) is the most")
        }
        guard bytes.first != slash, bytes.last != slash else {
            throw refusal(.roleSlashEdge, "it may not begin or end with /")
        }
        let components = bytes.split(separator: slash, omittingEmptySubsequences: false)
        guard bytes.isEmpty || !components.contains(where: \.isEmpty) else {
            throw refusal(.roleSlashDouble, "it may not hold //")
        }
        guard !bytes.isEmpty else { throw refusal(.roleEmpty, "it may not be empty") }
        guard components.count <= Self.depthMax else {
            throw refusal(.roleTooLong, "\(components.count) parts, and \(Self.depthMax) is the most")
        }
        for component in components {
            let component = Array(component)
            if component == Array(".".utf8) || component == Array("..".utf8) {
                throw refusal(.roleDotComponent, "no part of it may be . or ..")
            }
            if component == Self.any.bytes { throw refusal(.roleStarComponent, "no part of it may be *") }
            if component.first == UInt8(ascii: "-") { throw refusal(.roleDashStart, "no part of it may begin with -") }
            if component.contains(where: { (0x09...0x0D).contains($0) || $0 == 0x20 || $0 == 0x7F }) {
                throw refusal(.roleCharacter, "no part of it may hold a blank or a control character")
            }
        }
    }

    /// Longer, and begins with `other` and `/`: `a/b` of `a`, and `ab` not.
    public func isStrictSubrole(of other: RoleName) -> Bool {
        bytes.count > other.bytes.count && bytes.starts(with: other.bytes)
            && bytes[other.bytes.count] == UInt8(ascii: "/")
    }

    public func isSameOrSubrole(of other: RoleName) -> Bool { self == other || isStrictSubrole(of: other) }

    /// From the nearest to the outermost: of `a/b/c` these are `a/b` and `a`.
    public var ancestors: [RoleName] {
        bytes.indices.reversed().filter { bytes[$0] == UInt8(ascii: "/") }.map {
            RoleName(unchecked: Array(bytes[..<$0]))
        }
    }

    public var isNested: Bool { bytes.contains(UInt8(ascii: "/")) }

    public static func < (left: RoleName, right: RoleName) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }
}

extension RoleName: CustomStringConvertible {
    public var description: String { text(bytes) }
}

/// What names an agent, a framework, a provider, a volume or an operation: 1 … 255 bytes without `/`, `\` and control
/// characters; not `.` or `..`, because agents make directories of them.
public struct RegistryID: Hashable, Comparable, Sendable {
    public let bytes: [UInt8]

    public static let sizeMax = 255

    package init(unchecked bytes: [UInt8]) { self.bytes = bytes }

    /// - Parameter what: names it in the refusal, as "agent id".
    /// - Throws: `id.*`.
    public init(_ bytes: [UInt8], _ what: String) throws(RegistryRefusal) {
        self.bytes = bytes
        guard !bytes.isEmpty else { throw RegistryRefusal(.idEmpty, "\(what): it may not be empty") }
        guard bytes.count <= Self.sizeMax else {
            throw RegistryRefusal(.idTooLong, "\(what): \(bytes.count) bytes, and \(Self.sizeMax) is the most")
        }
        guard bytes != Array(".".utf8), bytes != Array("..".utf8) else {
            throw RegistryRefusal(.idDots, "\(what) \(text(bytes)): it names a directory already")
        }
        guard !bytes.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") })
        else {
            throw RegistryRefusal(.idCharacter, "\(what) \(text(bytes)): it may not hold /, \\ or a control character")
        }
    }

    public static func < (left: RegistryID, right: RegistryID) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension RegistryID: CustomStringConvertible {
    public var description: String { text(bytes) }
}

/// Pairs of a key and perhaps a value, that somebody attaches to a reservation or a framework. Their order says
/// nothing.
public struct Labels: Hashable, Sendable {
    public struct Label: Hashable, Sendable {
        public var key: [UInt8]
        public var value: [UInt8]?

        public init(key: [UInt8], value: [UInt8]?) {
            self.key = key
            self.value = value
        }
    }

    /// In the order of their keys, then values, one without a value first.
    public let items: [Label]

    public static let countMax = 64
    /// Of all keys and values together.
    public static let sizeMax = 4_096

    /// - Throws: `labels.too-large`.
    public init(_ stated: [Label]) throws(RegistryRefusal) {
        let size = stated.reduce(0) { $0 + $1.key.count + ($1.value?.count ?? 0) }
        guard stated.count <= Self.countMax, size <= Self.sizeMax else {
            throw RegistryRefusal(
                .labelsTooLarge,
                "\(stated.count) labels of \(size) bytes: \(Self.countMax) and \(Self.sizeMax) bytes are the most")
        }
        items = stated.sorted { left, right in
            guard left.key == right.key else { return left.key.lexicographicallyPrecedes(right.key) }
            guard let value = right.value else { return false }
            return left.value?.lexicographicallyPrecedes(value) ?? true
        }
    }
}
