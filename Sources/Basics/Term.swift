/// A Raft term. 0 means "before the first election". (Raft §5.1)
package struct Term: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(_ rawValue: UInt64) { self.rawValue = rawValue }

    @inlinable package static var zero: Term { Term(0) }
    @inlinable package var next: Term { Term(rawValue + 1) }
    @inlinable package static func < (left: Term, right: Term) -> Bool { left.rawValue < right.rawValue }

    package var description: String { String(rawValue) }
}
