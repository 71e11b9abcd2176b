internal import Basics
internal import Client
internal import FoundationEssentials

/// The JSON form of a transaction. A member that is not known is an error: a comparison that was misspelt and therefore
/// ignored would let a transaction through that its author meant to guard.
struct TransactionFile: Decodable {
    private var transaction: MetadataTransaction

    static func parse(_ bytes: [UInt8], name: String) throws -> MetadataTransaction {
        do {
            return try JSONDecoder().decode(TransactionFile.self, from: Data(bytes)).transaction
        } catch let error as DecodingError {
            throw CommandError.usage("\(name): \(describe(error))")
        }
    }

    init(from decoder: any Decoder) throws {
        let object = try ObjectReader(decoder, allowed: ["if", "then", "else"])
        transaction = MetadataTransaction(
            if: try object.optional([Comparison].self, "if")?.map(\.value) ?? [],
            then: try object.optional([Operation].self, "then")?.map(\.value) ?? [],
            otherwise: try object.optional([Operation].self, "else")?.map(\.value) ?? [])
        let count = transaction.conditions.count + transaction.then.count + transaction.otherwise.count
        guard count <= Limits.transactionOperationsMax else {
            throw object.invalid(
                "has \(count) comparisons and operations; \(Limits.transactionOperationsMax) are the most")
        }
    }

    private struct Comparison: Decodable {
        var value: MetadataTransaction.Condition

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(
                decoder,
                allowed: [
                    "key", "keyBase64", "revision", "value", "base64", "exists", "prefix", "prefixBase64",
                    "unchangedSince",
                ])
            if let prefix = try object.bytes("prefix", orBase64: "prefixBase64") {
                let since = try object.required(UInt64.self, "unchangedSince")
                try object.expectNoneBut(["prefix", "prefixBase64", "unchangedSince"])
                value = .unchanged(prefix: prefix, since: since)
                return
            }
            guard let key = try object.bytes("key", orBase64: "keyBase64") else {
                throw object.invalid("a comparison needs \"key\" or \"prefix\"")
            }
            let revision = try object.optional(UInt64.self, "revision")
            let expected = try object.bytes("value", orBase64: "base64")
            let exists = try object.optional(Bool.self, "exists")
            switch (revision, expected, exists) {
            case (let revision?, nil, nil): value = .revision(key: key, revision)
            case (nil, let expected?, nil): value = .value(key: key, expected)
            case (nil, nil, let exists?): value = .exists(key: key, exists)
            default: throw object.invalid("a comparison of a key needs one of \"revision\", \"value\" and \"exists\"")
            }
        }
    }

    private struct Operation: Decodable {
        var value: MetadataTransaction.Operation

        init(from decoder: any Decoder) throws {
            let object = try ObjectReader(
                decoder, allowed: ["put", "delete", "deletePrefix", "deletePrefixBase64", "get"])
            guard object.memberCount == 1 else {
                throw object.invalid("an operation is one of \"put\", \"delete\", \"deletePrefix\" and \"get\"")
            }
            if let put = try object.optional(KeyAndValue.self, "put") {
                guard let bytes = put.value else { throw object.invalid("a put needs \"value\" or \"base64\"") }
                value = .put(key: put.key, value: bytes)
            } else if let delete = try object.optional(KeyAndValue.self, "delete") {
                guard delete.value == nil else { throw object.invalid("a delete takes no value") }
                value = .delete(key: delete.key)
            } else if let get = try object.optional(KeyAndValue.self, "get") {
                guard get.value == nil else { throw object.invalid("a get takes no value") }
                value = .get(key: get.key)
            } else if let prefix = try object.bytes("deletePrefix", orBase64: "deletePrefixBase64") {
                value = .deletePrefix(prefix)
            } else {
                throw object.invalid("an operation may not be null")
            }
        }
    }
}

/// `{"key":…,"value":…}`, either in Base64 too: a line of an import, and what an operation acts on.
struct KeyAndValue: Decodable {
    var key: [UInt8]
    var value: [UInt8]?

    init(from decoder: any Decoder) throws {
        let object = try ObjectReader(decoder, allowed: ["key", "keyBase64", "value", "base64"])
        guard let key = try object.bytes("key", orBase64: "keyBase64") else {
            throw object.invalid("\"key\" is missing")
        }
        self.key = key
        value = try object.bytes("value", orBase64: "base64")
    }
}

/// An object of which every member must be known.
struct ObjectReader {
    private let container: KeyedDecodingContainer<Name>

    private struct Name: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    init(_ decoder: any Decoder, allowed: [String]) throws {
        container = try decoder.container(keyedBy: Name.self)
        for name in container.allKeys where !allowed.contains(name.stringValue) {
            throw invalid("\"\(name.stringValue)\" is not known here")
        }
    }

    var memberCount: Int { container.allKeys.count }

    func expectNoneBut(_ names: [String]) throws {
        for name in container.allKeys where !names.contains(name.stringValue) {
            throw invalid("\"\(name.stringValue)\" does not go with the others")
        }
    }

    func optional<T: Decodable>(_ type: T.Type, _ name: String) throws -> T? {
        try container.decodeIfPresent(type, forKey: Name(stringValue: name))
    }

    func required<T: Decodable>(_ type: T.Type, _ name: String) throws -> T {
        guard let value = try optional(type, name) else { throw invalid("\"\(name)\" is missing") }
        return value
    }

    /// Text under one name, or Base64 under the other; nil when there is neither.
    func bytes(_ name: String, orBase64 base64Name: String) throws -> [UInt8]? {
        let text = try optional(String.self, name)
        guard let base64 = try optional(String.self, base64Name) else { return text.map { Array($0.utf8) } }
        guard text == nil else { throw invalid("\"\(name)\" and \"\(base64Name)\" exclude each other") }
        guard let bytes = Base64.decode(base64) else { throw invalid("\"\(base64Name)\" is not Base64") }
        return bytes
    }

    func invalid(_ message: String) -> DecodingError {
        DecodingError.dataCorrupted(.init(codingPath: container.codingPath, debugDescription: message))
    }
}

/// Where in the JSON it is wrong, and how.
func describe(_ error: DecodingError) -> String {
    func place(_ context: DecodingError.Context) -> String {
        var text = ""
        for step in context.codingPath {
            text += step.intValue.map { "[\($0)]" } ?? (text.isEmpty ? step.stringValue : ".\(step.stringValue)")
        }
        return text.isEmpty ? "" : "\(text): "
    }
    switch error {
    case .typeMismatch(let type, let context): return "\(place(context))should be \(kind(type))"
    case .valueNotFound(let type, let context): return "\(place(context))is null and should be \(kind(type))"
    case .keyNotFound(let key, let context): return "\(place(context))\"\(key.stringValue)\" is missing"
    case .dataCorrupted(let context):
        return "\(place(context))\(context.debugDescription)"
    @unknown default: return "is not the JSON that is expected"
    }
}

private func kind(_ type: any Any.Type) -> String {
    switch type {
    case is String.Type: "text"
    case is Bool.Type: "true or false"
    case is UInt64.Type: "a number"
    case is any Collection.Type: "a list"
    default: "an object"
    }
}
