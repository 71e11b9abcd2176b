import RegistryModel
import Testing

@Suite("Amounts")
struct ScalarTests {
    @Test(
        "halves round away from zero, on the product in binary64",
        arguments: [
            (0.0005, 1), (2.0004, 2_000), (0.001, 1), (1.5, 1_500), (0, 0), (1_024, 1_024_000), (0.0015, 2),
            (4_398_046_511_103.999, 4_398_046_511_103_999),
        ] as [(Double, Int64)])
    func rounding(stated: Double, thousandths: Int64) throws {
        #expect(try Scalar(stated).thousandths == thousandths)
    }

    @Test(
        "scalar.invalid: NaN, infinite, subnormal or negative",
        arguments: [Double.nan, .infinity, -.infinity, .leastNonzeroMagnitude, -1, -0.001])
    func invalid(stated: Double) {
        #expect(rule { try Scalar(stated) } == .scalarInvalid)
    }

    @Test("scalar.not-positive: not zero, and less than half a thousandth; zero itself is an amount")
    func notPositive() throws {
        #expect(rule { try Scalar(0.000_49) } == .scalarNotPositive)
        #expect(try Scalar(0).isZero)
        #expect(try Scalar(-0.0).isZero)
    }

    @Test("scalar.overflow: a value or a sum above the largest amount")
    func overflow() throws {
        #expect(rule { try Scalar(9_007_199_254_741) } == .scalarOverflow)
        #expect(rule { try Scalar.max + Scalar(0.001) } == .scalarOverflow)
        #expect(try Scalar.max + Scalar.zero == Scalar.max)
    }

    @Test(
        "a number in JSON is the amount again, up to 2^42",
        arguments: [0, 1, 999, 1_000, 1_001, 45_000_125, 4_398_046_511_103_999] as [Int64])
    func double(thousandths: Int64) throws {
        let amount = try #require(Scalar(thousandths: thousandths))
        #expect(try Scalar(amount.double) == amount)
    }
}

/// The rule that refuses; nil: nothing was refused.
func rule<T>(_ body: () throws -> T) -> RegistryRule? {
    do {
        _ = try body()
        return nil
    } catch let refusal as RegistryRefusal {
        return refusal.rule
    } catch {
        Issue.record(error)
        return nil
    }
}
