package import RegistryModel

/// A part of a document that the registry cannot take.
package struct ImportProblem: Hashable, Sendable, CustomStringConvertible {
    /// As in `slaves.slaves[3].info.hostname`; empty: all of it.
    package var path: String
    package var rule: RegistryRule
    package var detail: String

    package init(path: String, rule: RegistryRule, detail: String) {
        self.path = path
        self.rule = rule
        self.detail = detail
    }

    package var description: String { "\(path.isEmpty ? "" : path + ": ")\(rule.rawValue): \(detail)" }
}

/// All that is wrong with a document.
final class ProblemList {
    private(set) var problems: [ImportProblem] = []

    func add(_ path: Path, _ rule: RegistryRule, _ detail: String) {
        problems.append(ImportProblem(path: path.description, rule: rule, detail: detail))
    }

    /// What `body` makes; nil when a rule refuses it.
    func catching<Value>(_ path: Path, _ body: () throws(RegistryRefusal) -> Value) -> Value? {
        do throws(RegistryRefusal) {
            return try body()
        } catch {
            add(path, error.rule, error.detail)
            return nil
        }
    }
}

/// Where something stands in a document. Its text is made when somebody has to be told.
final class Path: CustomStringConvertible, Sendable {
    private enum Step: Sendable {
        case member(String)
        case item(Int)
    }

    private let parent: Path?
    private let step: Step

    private init(_ parent: Path?, _ step: Step) {
        self.parent = parent
        self.step = step
    }

    static let root = Path(nil, .member(""))

    func adding(_ name: String) -> Path { Path(self, .member(name)) }
    func adding(_ position: Int) -> Path { Path(self, .item(position)) }

    var description: String {
        let before = parent?.description ?? ""
        switch step {
        case .member(let name): return before.isEmpty ? name : before + "." + name
        case .item(let position): return before + "[\(position)]"
        }
    }
}

/// Takes an object apart, member by member. What nobody takes is what the document says besides; so is, under the empty
/// name, what nobody takes of objects within.
final class ObjectReader {
    let path: Path
    let problems: ProblemList
    private let members: [JSONValue.Member]
    private var isTaken: [Bool]
    private var children: [(name: String, reader: ObjectReader)] = []
    /// Lists, and what else is known in other words, as they stand in the document.
    private var forms: [JSONValue.Member] = []
    private var kept: [JSONValue.Member] = []

    /// What a text of a command may have, in bytes; more items than this are in no list either.
    static let sizeMax = Int(UInt16.max)

    /// - Parameter value: what is no object is a problem, and read as an empty one.
    init(_ value: JSONValue, _ path: Path, _ problems: ProblemList) {
        self.path = path
        self.problems = problems
        if case .object(let members) = value {
            self.members = members
        } else {
            members = []
            problems.add(path, .importShape, "this has to be an object")
        }
        isTaken = members.map { _ in false }
        if members.contains(where: \.name.isEmpty) { problem("a member without a name") }
    }

    func problem(_ detail: String) { problems.add(path, .importShape, detail) }

    func problem(_ name: String, _ detail: String) { problems.add(path.adding(name), .importShape, detail) }

    // MARK: - Members

    /// Nil: there is none.
    func value(_ name: String) -> JSONValue? {
        guard let position = members.firstIndex(where: { $0.name.elementsEqual(name.utf8) }) else { return nil }
        isTaken[position] = true
        return members[position].value
    }

    func required(_ name: String) -> JSONValue? {
        let found = value(name)
        if found == nil { problem(name, "this is missing") }
        return found
    }

    func string(_ name: String) -> [UInt8]? { value(name).flatMap { string($0, path.adding(name)) } }

    /// Empty when it is missing, which is a problem.
    func requiredString(_ name: String) -> [UInt8] {
        required(name).flatMap { string($0, path.adding(name)) } ?? []
    }

    private func string(_ value: JSONValue, _ path: Path) -> [UInt8]? {
        guard case .string(let text) = value else {
            problems.add(path, .importShape, "this has to be a string")
            return nil
        }
        guard text.count <= Self.sizeMax else {
            problems.add(path, .importShape, "\(text.count) bytes, and \(Self.sizeMax) are the most")
            return nil
        }
        return text
    }

    func bool(_ name: String) -> Bool? {
        guard let value = value(name) else { return nil }
        guard case .bool(let isSo) = value else {
            problem(name, "this has to be true or false")
            return nil
        }
        return isSo
    }

    /// A whole number, however it is written.
    func integer<Number: FixedWidthInteger>(_ name: String, _ type: Number.Type = Number.self) -> Number? {
        guard let value = value(name) else { return nil }
        if case .number(let digits) = value.canonical(), let number = Number(String(decoding: digits, as: UTF8.self)) {
            return number
        }
        problem(name, "this has to be a whole number from \(Number.min) to \(Number.max)")
        return nil
    }

    func requiredInteger<Number: FixedWidthInteger>(_ name: String, _ type: Number.Type = Number.self) -> Number? {
        guard members.contains(where: { $0.name.elementsEqual(name.utf8) }) else {
            problem(name, "this is missing")
            return nil
        }
        return integer(name)
    }

    /// One that a double does not hold would come out as another.
    func requiredDouble(_ name: String) -> Double? {
        guard let value = required(name) else { return nil }
        guard case .number(let digits) = value, let double = Double(String(decoding: digits, as: UTF8.self)),
            double.isFinite
        else {
            problem(name, "this has to be a number that a double can hold")
            return nil
        }
        guard JSONValue.double(double) == value.canonical() else {
            problem(name, "this has more digits than a double can hold")
            return nil
        }
        return double
    }

    /// One of some words.
    func requiredWord<Meaning>(_ name: String, _ meanings: KeyValuePairs<String, Meaning>) -> Meaning? {
        let word = requiredString(name)
        if let meaning = meanings.first(where: { $0.key.utf8.elementsEqual(word) }) { return meaning.value }
        if case .string? = value(name) {
            let known = meanings.map { $0.key }.joined(separator: ", ")
            problem(name, "\(String(decoding: word, as: UTF8.self)) is none of \(known)")
        }
        return nil
    }

    /// - Parameter keepsRest: what nobody takes of it is said here, and not where somebody asks the object itself.
    func object(_ name: String, keepsRest: Bool = true) -> ObjectReader? {
        guard let value = value(name) else { return nil }
        let reader = ObjectReader(value, path.adding(name), problems)
        if keepsRest { children.append((name, reader)) }
        return reader
    }

    func requiredObject(_ name: String, keepsRest: Bool = true) -> ObjectReader? {
        if let reader = object(name, keepsRest: keepsRest) { return reader }
        problem(name, "this is missing")
        return nil
    }

    /// The objects of a list; none when there is no list. What nobody takes of each is the caller's.
    func objects(_ name: String) -> [ObjectReader] {
        list(name, Int.max).enumerated().map {
            ObjectReader($0.element, path.adding(name).adding($0.offset), problems)
        }
    }

    /// The same for lists that stand in one value of a command.
    func fewObjects(_ name: String) -> [ObjectReader] {
        list(name, Self.sizeMax).enumerated().map {
            ObjectReader($0.element, path.adding(name).adding($0.offset), problems)
        }
    }

    /// The items of a list that is read elsewhere.
    func items(_ name: String) -> [JSONValue] { list(name, Int.max) }

    func strings(_ name: String) -> [[UInt8]] {
        list(name, Self.sizeMax).enumerated().compactMap { string($0.element, path.adding(name).adding($0.offset)) }
    }

    private func list(_ name: String, _ countMax: Int) -> [JSONValue] {
        guard let value = value(name) else { return [] }
        guard case .array(let values) = value else {
            problem(name, "this has to be a list")
            return []
        }
        guard values.count <= countMax else {
            problem(name, "\(values.count) items, and \(countMax) are the most")
            return []
        }
        return values
    }

    /// Numbers by name: `{"cpus":{"value":2}}`.
    func numbers(_ name: String) -> [NamedNumber] {
        guard let reader = object(name, keepsRest: false) else { return [] }
        return reader.members.compactMap { member in
            let path = reader.path.adding(String(decoding: member.name.prefix(80), as: UTF8.self))
            guard member.name.count <= Self.sizeMax else {
                problems.add(path, .importShape, "a name of \(member.name.count) bytes")
                return nil
            }
            guard let number = ObjectReader(member.value, path, problems).requiredDouble("value") else { return nil }
            return NamedNumber(name: member.name, number: number)
        }
    }

    // MARK: - What it says besides

    var names: [[UInt8]] { members.map(\.name) }

    /// A known member that is written in one way only is not, here.
    func keep(_ name: String, _ value: JSONValue) { kept.append(JSONValue.Member(Array(name.utf8), value)) }

    /// Items as they stand in the document, because they would be written in another way.
    func keepForm(_ name: String, _ items: [JSONValue]) {
        forms.append(JSONValue.Member(Array(name.utf8), .array(items)))
    }

    private var rest: JSONValue? {
        var besides = zip(members, isTaken).compactMap { $1 ? nil : $0 } + kept
        var within = forms
        for child in children {
            if let rest = child.reader.rest { within.append(JSONValue.Member(Array(child.name.utf8), rest)) }
        }
        if !within.isEmpty { besides.append(JSONValue.Member([], .object(within))) }
        return besides.isEmpty ? nil : .object(besides)
    }

    /// As it is stored; empty: nothing.
    func extra() -> [UInt8] {
        let extra = rest?.canonical().bytes ?? []
        guard extra.count <= Self.sizeMax else {
            problem("what is not known of it has \(extra.count) bytes, and \(Self.sizeMax) are the most to be kept")
            return []
        }
        return extra
    }
}

extension JSONValue {
    /// What was stored of a document besides what is known of it; nil: nothing.
    static func extra(_ bytes: [UInt8]) -> JSONValue? {
        guard !bytes.isEmpty, let value = try? JSONValue(bytes), case .object = value else { return nil }
        return value
    }

    /// What a document said besides of objects within this one.
    private var within: [Member] {
        guard case .object(let members) = self, let inner = members.first(where: \.name.isEmpty),
            case .object(let within) = inner.value
        else { return [] }
        return within
    }

    func extra(within name: String) -> JSONValue? { within.first { $0.name.elementsEqual(name.utf8) }?.value }

    /// Items as they stood in the document.
    func form(_ name: String) -> [JSONValue]? {
        guard case .array(let items)? = extra(within: name) else { return nil }
        return items
    }

    /// What is known, and what a document said besides. What is not there any more is not brought back by that.
    func adding(extra: JSONValue?) -> JSONValue {
        guard case .object(var members) = self, case .object(let besides)? = extra else { return self }
        for member in besides where !member.name.isEmpty && !members.contains(where: { $0.name == member.name }) {
            members.append(member)
        }
        for child in extra?.within ?? [] {
            guard let position = members.firstIndex(where: { $0.name == child.name }) else { continue }
            members[position].value = members[position].value.adding(extra: child.value)
        }
        return .object(members)
    }
}
