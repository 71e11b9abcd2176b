internal import TOMLKit

/// The configuration file of `serve`: TOML, one setting a line, named as the flags are. `cluster` may be a table:
///
///     name = "n1"
///     data = "/var/lib/quorate"
///     client = "127.0.0.1:7400"
///     peer = "127.0.0.1:7500"
///     election-timeout = "1s-2s"
///
///     [cluster]
///     n1 = "127.0.0.1:7500"
///     n2 = "127.0.0.1:7501"
///     n3 = "127.0.0.1:7502"
enum ConfigurationFile {
    static let sizeMax = 1 << 20

    static func read(_ path: String) throws -> [ServeSetting: ServeSettings.Given] {
        let bytes = try InputFile.read(path, sizeMax: sizeMax)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandError.usage("\(path) is not UTF-8 text")
        }
        return try parse(text, path: path)
    }

    static func parse(_ text: String, path: String) throws(CommandError) -> [ServeSetting: ServeSettings.Given] {
        try ConfigurationText.check(text, path: path)
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch {
            throw .usage("\(path): \(error)")
        }
        var values: [ServeSetting: ServeSettings.Given] = [:]
        for name in table.keys.sorted() {
            guard let setting = ServeSetting(rawValue: name) else {
                throw .usage(
                    "\(path): \"\(name)\" is no setting; these are: "
                        + ServeSetting.allCases.map(\.rawValue).joined(separator: ", "))
            }
            guard let text = table[name].flatMap({ self.text(of: $0) }) else {
                throw .usage("\(path): \(name) has a value of a kind that it cannot have")
            }
            values[setting] = ServeSettings.Given(text: text, source: "\(path), \(name)")
        }
        return values
    }

    /// The value as a flag would spell it.
    private static func text(of value: any TOMLValueConvertible) -> String? {
        if let text = value.string { return text }
        if let number = value.int { return String(number) }
        if let truth = value.bool { return String(truth) }
        if let table = value.table {
            var parts: [String] = []
            for name in table.keys.sorted() {
                guard let address = table[name]?.string else { return nil }
                parts.append("\(name)=\(address)")
            }
            return parts.joined(separator: ",")
        }
        if let array = value.array {
            var parts: [String] = []
            for element in array {
                guard let part = element.string else { return nil }
                parts.append(part)
            }
            return parts.joined(separator: ",")
        }
        return nil
    }
}
