/// Why the registry does not do what it was asked to: which rule says so, and about what.
public struct RegistryRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    public var rule: RegistryRule
    /// For a person: which record and which values.
    public var detail: String

    public init(_ rule: RegistryRule, _ detail: String) {
        self.rule = rule
        self.detail = detail
    }

    public var description: String { "\(rule.rawValue): \(detail)" }
}
