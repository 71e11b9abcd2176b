import RegistryModel
import Testing

@Suite("Rate limits of masters")
struct RateLimitTests {
    private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

    private static let second: UInt64 = 1_000_000_000

    @Test("requests have their turns a fixed time apart, and as many wait as may")
    func turns() {
        let limit = RateLimits.Limit(principal: bytes("p"), rate: 2, capacity: 2)
        var limiter = RateLimiter(RateLimits(limits: [limit]))
        #expect(limiter.take(bytes("p"), at: 10) == .now)
        #expect(limiter.take(bytes("p"), at: 10) == .after(Self.second / 2))
        #expect(limiter.take(bytes("p"), at: 10) == .after(Self.second))
        #expect(limiter.take(bytes("p"), at: 10) == .refused)
        // One has had its turn.
        #expect(limiter.take(bytes("p"), at: 10 + Self.second / 2) == .after(Self.second))
        #expect(limiter.take(bytes("p"), at: 10 + 10 * Self.second) == .now)
    }

    @Test("as many wait as may at rates that no clock counts exactly", arguments: [0.3, 3, 7, 10, 13.7, 1_000])
    func inexactRates(rate: Double) {
        for number in 1...1_000 {
            let now = UInt64(number) * 37_025_900_001
            var limiter = RateLimiter(RateLimits(limits: [.init(principal: bytes("p"), rate: rate, capacity: 3)]))
            let turns = (0..<5).map { _ in limiter.take(bytes("p"), at: now) }
            #expect(turns.map { $0 == .refused } == [false, false, false, false, true])
        }
    }

    @Test("who is not listed shares one bucket; who is listed without a rate has none")
    func others() {
        var limits = RateLimits(limits: [.init(principal: bytes("free"))], aggregateRate: 1, aggregateCapacity: 0)
        var limiter = RateLimiter(limits)
        #expect(limiter.take(nil, at: 0) == .now)
        #expect(limiter.take(bytes("q"), at: 0) == .refused)
        for _ in 0..<10 { #expect(limiter.take(bytes("free"), at: 0) == .now) }
        #expect(limiter.take(bytes("q"), at: Self.second) == .now)
        limits.aggregateRate = nil
        limiter = RateLimiter(limits)
        for _ in 0..<10 { #expect(limiter.take(bytes("q"), at: 0) == .now) }
    }
}
