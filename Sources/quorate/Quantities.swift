internal import ArgumentParser
internal import Basics

/// A length of time on the command line and in the configuration file: `5s`, `100ms`, `2m`, `24h`.
struct TimeQuantity: Hashable, ExpressibleByArgument {
    var interval: Interval

    init(_ interval: Interval) { self.interval = interval }

    init?(argument: String) {
        guard let (number, unit) = Quantity.split(argument) else { return nil }
        let factor: Int64
        switch unit {
        case "us": factor = 1_000
        case "ms": factor = 1_000_000
        case "s": factor = 1_000_000_000
        case "m": factor = 60_000_000_000
        case "h": factor = 3_600_000_000_000
        default: return nil
        }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        interval = Interval(nanoseconds: nanoseconds)
    }

    static let form = "a number and a unit: 100ms, 5s, 2m, 1h"

    var defaultValueDescription: String {
        interval.nanoseconds % 1_000_000_000 == 0
            ? "\(interval.nanoseconds / 1_000_000_000)s" : "\(interval.nanoseconds / 1_000_000)ms"
    }
}

/// A number of bytes: `1048576`, `64MiB`, `1GiB`.
enum SizeQuantity {
    static func parse(_ text: String) -> Int? {
        guard let (number, unit) = Quantity.split(text), let count = Int(exactly: number) else { return nil }
        let shift: Int
        switch unit {
        case "", "B": shift = 0
        case "KiB": shift = 10
        case "MiB": shift = 20
        case "GiB": shift = 30
        default: return nil
        }
        let (size, overflow) = count.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : size
    }

    static let form = "a number of bytes: 1048576, 64MiB, 1GiB"

    /// Bytes for people.
    static func text(_ size: UInt64) -> String {
        var value = Double(size)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1_024 { return unit == "B" ? "\(size) B" : "\((value * 10).rounded() / 10) \(unit)" }
            value /= 1_024
        }
        return "\((value * 10).rounded() / 10) TiB"
    }
}

private enum Quantity {
    /// Digits, then letters.
    static func split(_ text: String) -> (Int64, Substring)? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int64(digits) else { return nil }
        return (number, text[digits.endIndex...])
    }
}
