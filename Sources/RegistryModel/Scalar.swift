/// An amount with three decimal places: cores, devices, MB of memory or disk. Counted in thousandths, so that sums are
/// exact whatever their order.
///
/// 0 … `Scalar.max`; 0 means "nothing".
public struct Scalar: Hashable, Comparable, Sendable {
    public let thousandths: Int64

    /// 2^53 - 1: the largest whole number up to which a JSON number, a double, holds every one.
    private static let thousandthsMax: Int64 = 9_007_199_254_740_991

    public static let zero = Scalar(unchecked: 0)
    public static let max = Scalar(unchecked: thousandthsMax)

    private init(unchecked thousandths: Int64) { self.thousandths = thousandths }

    /// Nil outside of 0 … `max`.
    public init?(thousandths: Int64) {
        guard (0...Self.thousandthsMax).contains(thousandths) else { return nil }
        self.thousandths = thousandths
    }

    /// The number as somebody states it, rounded to thousandths, halves away from zero.
    /// - Throws: `scalar.invalid` NaN, infinite, subnormal or negative; `scalar.not-positive` not zero, and less than
    ///   half a thousandth; `scalar.overflow` above `max`.
    public init(_ stated: Double) throws(RegistryRefusal) {
        guard stated.isFinite, !stated.isSubnormal, stated >= 0 else {
            throw RegistryRefusal(.scalarInvalid, "\(stated) is no amount: it has to be a finite number, 0 or more")
        }
        let rounded = (stated * 1_000).rounded(.toNearestOrAwayFromZero)
        guard rounded <= Double(Self.thousandthsMax) else {
            throw RegistryRefusal(.scalarOverflow, "\(stated) is above the largest amount, \(Scalar.max)")
        }
        guard rounded > 0 || stated == 0 else {
            throw RegistryRefusal(.scalarNotPositive, "\(stated) is less than a thousandth")
        }
        thousandths = Int64(rounded)
    }

    /// The number as JSON shows it.
    public var double: Double { Double(thousandths / 1_000) + Double(thousandths % 1_000) / 1_000 }

    public var isZero: Bool { thousandths == 0 }
    public var isWhole: Bool { thousandths % 1_000 == 0 }

    public static func < (left: Scalar, right: Scalar) -> Bool { left.thousandths < right.thousandths }

    /// - Throws: `scalar.overflow` above `max`.
    public static func + (left: Scalar, right: Scalar) throws(RegistryRefusal) -> Scalar {
        guard let sum = Scalar(thousandths: left.thousandths + right.thousandths) else {
            throw RegistryRefusal(
                .scalarOverflow, "\(left) and \(right) together are above the largest amount, \(Scalar.max)")
        }
        return sum
    }

    /// Nil when `right` is more.
    public func subtracting(_ right: Scalar) -> Scalar? { Scalar(thousandths: thousandths - right.thousandths) }
}

extension Scalar: CustomStringConvertible {
    /// Without a fraction that says nothing: `2`, `0.5`, `12.125`.
    public var description: String {
        let whole = thousandths / 1_000
        guard !isWhole else { return "\(whole)" }
        var digits = String(thousandths % 1_000)
        while digits.count < 3 { digits = "0" + digits }
        while digits.hasSuffix("0") { digits.removeLast() }
        return "\(whole).\(digits)"
    }
}
