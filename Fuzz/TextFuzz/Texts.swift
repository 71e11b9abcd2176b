internal import Basics
internal import Client
internal import FuzzSupport
internal import Server

/// The JSON of `quorate txn`.
let transaction = Decoder(
    "transaction JSON",
    seeds: {
        [
            #"{"if":[{"key":"a","revision":7},{"keyBase64":"YQ==","value":"v"},{"key":"b","exists":true}],"#
                + #""then":[{"put":{"key":"a","base64":"AQI="}},{"delete":{"key":"b"}}],"else":[{"get":{"key":"a"}}]}"#,
            #"{"if":[{"prefix":"a/","unchangedSince":5}],"then":[{"deletePrefix":"a/"},{"deletePrefixBase64":"YQ=="}]}"#,
            #"{"then":[]}"#,
        ].map { Array($0.utf8) }
    }
) { bytes in
    guard let transaction = try? TransactionFile.parse(bytes, name: "input") else { return false }
    let count = transaction.conditions.count + transaction.then.count + transaction.otherwise.count
    check(count <= Limits.transactionOperationsMax, "\(count) comparisons and operations")
    return true
}

/// A line of `quorate import`. What `quorate export` prints of it is read as the same.
let importLine = Decoder(
    "import line",
    seeds: {
        [
            #"{"key":"a/b","value":"hello \"world\" \u00e9\n"}"#, #"{"keyBase64":"AQI=","base64":"AwQ="}"#, " \t",
            #"{"key":"a","base64":""}"#,
        ].map { Array($0.utf8) }
    }
) { bytes in
    guard let record = try? ImportBatch.parse(bytes, place: "line 1") else { return false }
    let again = try? ImportBatch.parse(JSON.exported(key: record.key, value: record.value).bytes, place: "again")
    check(again == record, "\(record)")
    return true
}

/// The configuration file of `quorate serve`, to the end: a configuration that is found to make sense, or a message.
let configuration = Decoder("configuration", seeds: { configurations.map { Array($0.utf8) } }) { bytes in
    guard let text = String(validating: bytes, as: UTF8.self),
        let values = try? ConfigurationFile.parse(text, path: "quorate.toml")
    else { return false }
    var settings = ServeSettings()
    settings.overlay(values)
    guard let configuration = try? settings.configuration() else { return false }
    check(configuration.frameSizeMax > 0 && configuration.peerFrameSizeMax > 0, "a frame of no size")
    check(configuration.diskReserveSize >= 0, "a reserve below nothing")
    return true
}

/// One setting, by its number, and the text that a flag or a variable gives it.
let setting = Decoder("setting", seeds: { settings }) { bytes in
    guard let number = bytes.first, let text = String(validating: bytes.dropFirst(), as: UTF8.self) else { return false }
    let setting = ServeSetting.allCases[Int(number) % ServeSetting.allCases.count]
    var given = ServeSettings()
    for (setting, text) in minimal { given.overlay([setting: ServeSettings.Given(text: text, source: "a test")]) }
    given.overlay([setting: ServeSettings.Given(text: text, source: setting.variable)])
    return (try? given.configuration()) != nil
}

/// HOST:PORT is printed as it is read.
let address = Decoder("address", seeds: { ["127.0.0.1:7400", "[::1]:1", "n1.example:65535"].map { Array($0.utf8) } }) {
    guard let text = String(validating: $0, as: UTF8.self), let address = HostPort(text) else { return false }
    check(HostPort(address.description) == address, "\(address)")
    _ = (address.isLoopback, address.isWildcard)
    return true
}

private let minimal: [(ServeSetting, String)] = [
    (.name, "n1"), (.data, "/d"), (.client, "127.0.0.1:7400"), (.peer, "127.0.0.1:7500"),
]

private let configurations = [
    """
    name = "n1"
    data = "/var/lib/quorate"
    client = "127.0.0.1:7400"
    peer = "127.0.0.1:7500"
    election-timeout = "1s-2s"
    heartbeat-interval = "100ms"
    segment-size = "64MiB"
    connections-max = 1000
    insecure = false

    [cluster]
    n1 = "127.0.0.1:7500"
    n2 = "127.0.0.1:7501"
    """,
    "name = 'n1'\ndata = 'd'\nclient = '[::1]:1'\npeer = '[::1]:2'\njoin = ['h:1', 'h:2']\nlog-format = 'json'\n",
    "tls-cert = 'a'\ntls-key = 'b'\n", "name = [1, {a = 1.5e3}]\n",
]

private let settings: [[UInt8]] = zip(ServeSetting.allCases.indices, ServeSetting.allCases).map { number, setting in
    let text =
        switch setting {
        case .http, .advertiseClient, .advertisePeer, .client, .peer: "127.0.0.1:7600"
        case .cluster: "n1=127.0.0.1:7500,n2=127.0.0.1:7501"
        case .join: "h:1,h:2"
        case .insecure, .httpInsecure: "true"
        case .engine: "memory"
        case .electionTimeout: "1s-2s"
        case .heartbeatInterval, .diskStallTimeout, .feedAge: "2s"
        case .segmentSize, .logMax, .feedSize, .diskReserve, .valueSizeMax: "1MiB"
        case .connectionsMax, .connectionsPerAddress: "16"
        case .logLevel: "debug"
        case .logFormat: "json"
        default: "x"
        }
    return [UInt8(number)] + Array(text.utf8)
}
