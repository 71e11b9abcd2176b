/// Why the registry does not do what it was asked to: which rule says so, and about what.
public struct RegistryRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    public var rule: RegistryRule
    /// For a person: which record and which values.
    public let detail: String

    /// - Parameter detail: a resource may say more than somebody reads: its end is left out.
    public init(_ rule: RegistryRule, _ detail: String) {
        self.rule = rule
        self.detail =
            detail.utf8.count <= Self.detailSizeMax
            ? detail : String(decoding: detail.utf8.prefix(Self.detailSizeMax), as: UTF8.self) + "…"
    }

    private static let detailSizeMax = 1_024

    public var description: String { "\(rule.rawValue): \(detail)" }
}
