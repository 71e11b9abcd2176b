package import Basics

/// How many requests a second a master takes from whom; it holds the limits by a `RateLimiter`.
public struct RateLimits: Hashable, Sendable {
    public struct Limit: Hashable, Sendable {
        /// Of frameworks that authenticate as this.
        public var principal: [UInt8]
        /// Requests a second; nil: as many as they like.
        public var rate: Double?
        /// Requests that may wait for their turn; nil: any number.
        public var capacity: UInt64?

        public init(principal: [UInt8], rate: Double? = nil, capacity: UInt64? = nil) {
            self.principal = principal
            self.rate = rate
            self.capacity = capacity
        }
    }

    public var limits: [Limit]
    /// Of all together that are not listed or have no principal; nil: as many as they like.
    public var aggregateRate: Double?
    public var aggregateCapacity: UInt64?

    public init(limits: [Limit] = [], aggregateRate: Double? = nil, aggregateCapacity: UInt64? = nil) {
        self.limits = limits
        self.aggregateRate = aggregateRate
        self.aggregateCapacity = aggregateCapacity
    }

    /// - Throws: `ratelimit.shape`, `ratelimit.duplicate-principal`, `ratelimit.qps-not-positive`,
    ///   `ratelimit.aggregate-qps-not-positive`.
    package func check() throws(RegistryRefusal) {
        var principals: Set<[UInt8]> = []
        for limit in limits {
            guard !limit.principal.isEmpty else { throw RegistryRefusal(.ratelimitShape, "a limit without a principal") }
            guard principals.insert(limit.principal).inserted else {
                throw RegistryRefusal(
                    .ratelimitDuplicatePrincipal, "\(text(limit.principal)) is listed twice: one limit each")
            }
            guard Self.isPossible(limit.rate) else {
                throw RegistryRefusal(
                    .ratelimitQpsNotPositive, "\(text(limit.principal)): a rate is a number above 0, or is left out")
            }
        }
        guard Self.isPossible(aggregateRate) else {
            throw RegistryRefusal(
                .ratelimitAggregateQpsNotPositive, "the rate of all others is a number above 0, or is left out")
        }
    }

    private static func isPossible(_ rate: Double?) -> Bool { rate.map { $0 > 0 && $0.isFinite } ?? true }
}

/// Who of those that ask may be served when: a token bucket for each principal that has a rate of its own, and one for
/// all others. A value of the master that serves: a new master begins with full buckets.
public struct RateLimiter: Sendable {
    public enum Turn: Hashable, Sendable {
        case now
        /// So many ns later; its place is kept.
        case after(UInt64)
        /// More wait already than may: ask again later.
        case refused
    }

    /// When the next request has its turn; requests take their turns a fixed time apart.
    private struct Bucket: Sendable {
        let interval: Double
        let capacity: UInt64?
        var nextTurn = 0.0

        /// Of an interval.
        private static let tolerance = 1e-3

        init?(rate: Double?, capacity: UInt64?) {
            guard let rate else { return nil }
            interval = 1e9 / rate
            self.capacity = capacity
        }

        mutating func take(at now: Double) -> Turn {
            let wait = max(0, nextTurn - now)
            // Who waits has a turn later than now: one more each interval, of which sums of doubles are only nearly
            // multiples.
            if let capacity, (wait / interval - Self.tolerance).rounded(.up) > Double(capacity) { return .refused }
            nextTurn = max(nextTurn, now) + interval
            return wait > 0 ? .after(UInt64(wait.rounded(.up))) : .now
        }
    }

    private var buckets: [[UInt8]: Bucket] = [:]
    private let unlimited: Set<[UInt8]>
    private var aggregate: Bucket?

    public init(_ limits: RateLimits) {
        for limit in limits.limits {
            buckets[limit.principal] = Bucket(rate: limit.rate, capacity: limit.capacity)
        }
        unlimited = Set(limits.limits.lazy.filter { $0.rate == nil }.map(\.principal))
        aggregate = Bucket(rate: limits.aggregateRate, capacity: limits.aggregateCapacity)
    }

    /// - Parameters:
    ///   - principal: who authenticated; nil: nobody did.
    ///   - now: of a clock that never goes back, in ns.
    public mutating func take(_ principal: [UInt8]?, at now: UInt64) -> Turn {
        if let principal {
            if unlimited.contains(principal) { return .now }
            if let turn = buckets[principal]?.take(at: Double(now)) { return turn }
        }
        return aggregate?.take(at: Double(now)) ?? .now
    }
}

// MARK: - Bytes

extension RateLimits: RegistryValue {
    /// `list of limits | rate? | u64? capacity`; a rate is u8 present | u64 bits of a double.
    package func encode(into writer: inout ByteWriter) {
        writer.write(limits)
        writer.write(optional: aggregateRate) { $1.write(double: $0) }
        writer.write(optional: aggregateCapacity)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        limits = try reader.readValues()
        aggregateRate = try reader.readOptional { (reader) throws(DecodeError) in try reader.readDouble() }
        aggregateCapacity = try reader.readOptionalUInt64()
    }
}

extension RateLimits.Limit: RegistryValue {
    /// `text principal | rate? | u64? capacity`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(principal)
        writer.write(optional: rate) { $1.write(double: $0) }
        writer.write(optional: capacity)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        principal = try reader.readText()
        rate = try reader.readOptional { (reader) throws(DecodeError) in try reader.readDouble() }
        capacity = try reader.readOptionalUInt64()
    }
}
