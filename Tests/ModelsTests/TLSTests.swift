import Foundation
import Testing

@testable import Models

/// `openssl s_server` with a certificate that it signed itself, for localhost and 127.0.0.1.
private final class SignedServer {
    let folder = FileManager.default.temporaryDirectory.path + "/align-tls-" + UUID().uuidString
    let port: Int
    private let process = Process()
    static let program = "/usr/bin/openssl"

    init() throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        port = try ListeningSocket(host: "127.0.0.1", port: 0).port  // free a moment ago
        try Self.run(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem"])
        process.executableURL = URL(fileURLWithPath: Self.program)
        process.arguments = ["s_server", "-accept", "127.0.0.1:\(port)", "-key", folder + "/key.pem", "-cert", folder + "/cert.pem", "-www", "-quiet"]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        for _ in 0..<500 {
            if (try? Socket.connect(host: "127.0.0.1", port: port, peer: "", by: Deadline(seconds: 5))) != nil { return }
            usleep(10_000)
        }
    }

    private static func run(_ arguments: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
    }

    deinit {
        process.terminate()
        try? FileManager.default.removeItem(atPath: folder)
    }
}

@Suite("TLS verification", .enabled(if: FileManager.default.isExecutableFile(atPath: SignedServer.program), "no openssl program here")) struct TLSTests {
    @Test("a certificate is accepted for its names alone, and only from a signer that is trusted") func verification() throws {
        let server = try SignedServer()
        let roots = server.folder + "/cert.pem"
        func status(_ host: String, roots: String?) throws -> Int {
            try HTTPClient(try HTTPURL("https://\(host):\(server.port)"), roots: roots).send(HTTPRequest("GET", "/")).status
        }
        #expect(try status("127.0.0.1", roots: roots) == 200)
        #expect(try status("localhost", roots: roots) == 200)
        #expect { try status("127.0.0.1", roots: nil) } throws: { "\($0)".contains("certificate is refused") }
        // The machine's own second name is in no certificate.
        #expect { try status("127.0.0.2", roots: roots) } throws: { if case HTTPError.cannotConnect = $0 { true } else { "\($0)".contains("refused") } }
        #expect { try status("localhost.localdomain", roots: roots) } throws: { $0 is HTTPError }
    }
}
