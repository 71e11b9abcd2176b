internal import Client

extension MetadataTransaction.Result {
    var json: JSON {
        switch self {
        case .put: .object([("put", .bool(true))])
        case .deleted: .object([("delete", .bool(true))])
        case .deletedPrefix(let count): .object([("deleted", .number(count))])
        case .row(nil): .object([("found", .bool(false))])
        case .row(let row?): .row(key: row.key, value: row.value, revision: row.revision)
        }
    }

    var text: String {
        switch self {
        case .put: "put"
        case .deleted: "deleted"
        case .deletedPrefix(let count): "\(count) deleted"
        case .row(nil): "not found"
        case .row(let row?):
            String(decoding: List.readable(row.key) + [0x09] + List.readable(row.value), as: UTF8.self)
        }
    }
}

extension MetadataTransaction.Outcome {
    var json: JSON {
        .object([
            ("succeeded", .bool(succeeded)), ("revision", .number(revision)), ("results", .array(results.map(\.json))),
        ])
    }
}
