package import Basics

/// What has failed is tried again after a pause, twice as long each time.
package struct RetryPause: Sendable {
    /// Nothing is tried before.
    package private(set) var end = Instant.zero
    private var length = Interval.zero

    private static let shortest = Interval.seconds(1)
    private static let longest = Interval.seconds(64)

    package init() {}

    package mutating func begin(at now: Instant) {
        length = min(max(length * 2, Self.shortest), Self.longest)
        end = now + length
    }

    /// An attempt has succeeded, or has nothing to do with the one that failed.
    package mutating func reset() { self = RetryPause() }
}
