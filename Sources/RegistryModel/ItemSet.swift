/// Named items, such as zones: sorted, each once. Compared as bytes.
public struct ItemSet: Hashable, Sendable {
    public private(set) var items: [[UInt8]]

    public static let none = ItemSet(normal: [])

    private init(normal items: [[UInt8]]) { self.items = items }

    /// The items as somebody states them.
    /// - Throws: `set.duplicate`.
    public init(_ stated: [[UInt8]]) throws(RegistryRefusal) {
        items = stated.sorted { $0.lexicographicallyPrecedes($1) }
        for (former, latter) in zip(items, items.dropFirst()) where former == latter {
            throw RegistryRefusal(.setDuplicate, "\(text(latter)) is there twice")
        }
    }

    public var isEmpty: Bool { items.isEmpty }
    public var count: Int { items.count }

    public func union(_ other: ItemSet) -> ItemSet {
        ItemSet(normal: Set(items).union(other.items).sorted { $0.lexicographicallyPrecedes($1) })
    }

    public func subtracting(_ other: ItemSet) -> ItemSet {
        let taken = Set(other.items)
        return ItemSet(normal: items.filter { !taken.contains($0) })
    }

    public func contains(_ other: ItemSet) -> Bool { Set(items).isSuperset(of: other.items) }
    public func isDisjoint(with other: ItemSet) -> Bool { Set(items).isDisjoint(with: other.items) }
}

extension ItemSet: CustomStringConvertible {
    public var description: String { "{" + items.map(text).joined(separator: ", ") + "}" }
}

/// Bytes as a person is shown them: names are text nearly always.
package func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
