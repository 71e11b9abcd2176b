internal import ArgumentParser
internal import Basics
internal import Client
internal import Glibc

/// A point in the past on the command line: a revision, a time (RFC 3339), or how long ago.
enum PastPointArgument: Hashable, ExpressibleByArgument {
    case revision(UInt64)
    /// Nanoseconds since 1970.
    case time(UInt64)
    case ago(TimeQuantity)

    init?(argument: String) {
        if let number = UInt64(argument) {
            self = .revision(number)
        } else if let time = Moment.parse(argument) {
            self = .time(time)
        } else if let interval = TimeQuantity(argument: argument), interval.interval > .zero {
            self = .ago(interval)
        } else {
            return nil
        }
    }

    static let form = "a revision, a time as in 2026-01-31T13:00:00Z, or how long ago as in 15m or 2h"

    func checkForm(_ option: String) throws {
        if case .revision(0) = self { throw ValidationError("\(option) must be 1 or more: the first revision is 1.") }
    }

    /// - Throws: when it is yet to come.
    func point() throws -> PastPoint {
        let now = Moment.now()
        switch self {
        case .revision(let revision): return .revision(revision)
        case .time(let time):
            guard time <= now else {
                throw CommandError("invalidRequest", "\(Moment.text(time)) is yet to come: it is \(Moment.text(now))")
            }
            return .time(time)
        case .ago(let quantity): return .time(now - min(now, UInt64(clamping: quantity.interval.nanoseconds)))
        }
    }
}

/// Times as people write them (RFC 3339), in UTC, and as the cluster has them: nanoseconds since 1970.
enum Moment {
    static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_nsec)
    }

    /// To the millisecond.
    static func text(_ nanoseconds: UInt64) -> String {
        let seconds = Int(nanoseconds / 1_000_000_000)
        let (days, second) = (seconds / 86_400, seconds % 86_400)
        let (year, month, day) = date(ofDay: days)
        func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let milliseconds = String(nanoseconds / 1_000_000 % 1_000 + 1_000).dropFirst()
        return "\(year)-\(two(month))-\(two(day))T\(two(second / 3_600)):\(two(second / 60 % 60)):\(two(second % 60))"
            + ".\(milliseconds)Z"
    }

    /// Nil for what is no time, or one before 1970.
    static func parse(_ text: String) -> UInt64? {
        var rest = Substring(text)
        func number(_ digits: Int) -> Int? {
            let part = rest.prefix(digits)
            guard part.count == digits, part.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            rest = rest.dropFirst(digits)
            return Int(part)
        }
        func sign(_ allowed: String) -> Bool {
            guard let first = rest.first, allowed.contains(first) else { return false }
            rest = rest.dropFirst()
            return true
        }
        guard let year = number(4), sign("-"), let month = number(2), sign("-"), let day = number(2), sign("Tt "),
            let hour = number(2), sign(":"), let minute = number(2), sign(":"), let second = number(2),
            (1...12).contains(month), day >= 1, hour < 24, minute < 60, second < 60,
            date(ofDay: self.day(year, month, day)) == (year, month, day)
        else { return nil }
        var nanoseconds = 0
        if sign(".") {
            var unit = 100_000_000
            var count = 0
            while let digit = number(1) {
                nanoseconds += digit * unit
                unit /= 10
                count += 1
            }
            guard count > 0 else { return nil }
        }
        var offset = 0
        if !sign("Zz") {
            let isWest = rest.first == "-"
            guard sign("+-"), let hours = number(2), sign(":"), let minutes = number(2), hours < 24, minutes < 60 else {
                return nil
            }
            offset = (hours * 60 + minutes) * (isWest ? -60 : 60)
        }
        let seconds = self.day(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset
        // Later than what fits is later than everything.
        guard rest.isEmpty, seconds >= 0, seconds < 18_000_000_000 else { return nil }
        return UInt64(seconds) * 1_000_000_000 + UInt64(nanoseconds)
    }

    /// Days since 1970 of a date of the Gregorian calendar; years are counted from March, so that a leap day ends one.
    private static func day(_ year: Int, _ month: Int, _ day: Int) -> Int {
        let year = month <= 2 ? year - 1 : year
        let yearOfEra = year % 400
        let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
        return year / 400 * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }

    private static func date(ofDay day: Int) -> (year: Int, month: Int, day: Int) {
        let shifted = day + 719_468
        let (era, dayOfEra) = (shifted / 146_097, shifted % 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let month = (shiftedMonth + 2) % 12 + 1
        return (era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month, dayOfYear - (153 * shiftedMonth + 2) / 5 + 1)
    }
}
