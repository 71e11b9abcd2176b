/// What one client asked of a small group of keys and what it was told, with the times between which it must have taken
/// effect. Values are numbers, each written at most once; 0 means that there is no row.
package struct Operation: Hashable, Sendable {
    /// A key of the group, by its place.
    package struct Cell: Hashable, Sendable {
        package var key: Int
        package var value: UInt32

        package init(_ key: Int, _ value: UInt32) {
            self.key = key
            self.value = value
        }
    }

    package var client: Int
    package var called: UInt64
    /// Nil: the outcome is not known, so it may take effect at any later time, or never.
    package var returned: UInt64?
    /// What it was told that the keys held at that moment, before its own writes.
    package var reads: [Cell]
    /// It writes `writes` if all of these hold, else `otherwise`.
    package var conditions: [Cell]
    /// Whether they held, as it was told; nil when it was not.
    package var conditionsHeld: Bool?
    package var writes: [Cell]
    package var otherwise: [Cell]
    /// Where it is likely to come among the others. It tells a search where to look first and is never believed.
    package var rank: UInt64 = .max

    package init(
        client: Int, called: UInt64, returned: UInt64?, reads: [Cell] = [], conditions: [Cell] = [],
        conditionsHeld: Bool? = nil, writes: [Cell] = [], otherwise: [Cell] = []
    ) {
        self.client = client
        self.called = called
        self.returned = returned
        self.reads = reads
        self.conditions = conditions
        self.conditionsHeld = conditionsHeld
        self.writes = writes
        self.otherwise = otherwise
    }
}

extension Operation: CustomStringConvertible {
    package var description: String {
        func text(_ cells: [Cell]) -> String { cells.map { "\($0.key)=\($0.value)" }.joined(separator: " ") }
        var parts = ["client \(client) \(called)-\(returned.map(String.init) ?? "?")"]
        if !reads.isEmpty { parts.append("read \(text(reads))") }
        if !conditions.isEmpty { parts.append("if \(text(conditions)) (\(conditionsHeld.map { "\($0)" } ?? "?"))") }
        if !writes.isEmpty { parts.append("write \(text(writes))") }
        if !otherwise.isEmpty { parts.append("else \(text(otherwise))") }
        return parts.joined(separator: ", ")
    }
}
