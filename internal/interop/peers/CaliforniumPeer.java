import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.eclipse.californium.elements.AddressEndpointContext;
import org.eclipse.californium.elements.MessageCallback;
import org.eclipse.californium.elements.EndpointContext;
import org.eclipse.californium.elements.RawData;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.CertificateType;
import org.eclipse.californium.scandium.dtls.ExtendedMasterSecretMode;
import org.eclipse.californium.scandium.dtls.cipher.CipherSuite;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedSinglePskStore;
import org.eclipse.californium.scandium.dtls.x509.SingleCertificateProvider;
import org.eclipse.californium.scandium.dtls.x509.StaticNewAdvancedCertificateVerifier;

/**
 * A DTLS 1.2 peer on Californium's Scandium:
 *
 * <pre>
 * CaliforniumPeer client|server PORT SUITES CID psk IDENTITY KEY
 * CaliforniumPeer client|server PORT SUITES CID certificate DIRECTORY NAME
 * </pre>
 *
 * SUITES are numbers in hex with commas between, CID the length of its Connection ID, 0 for none. A client begins the handshake at once,
 * sends each line of its input and prints what comes back; a server sends back what comes. NAME is the server's.
 */
public final class CaliforniumPeer {
	public static void main(String[] args) throws Exception {
		boolean server = args[0].equals("server");
		InetSocketAddress bridge = new InetSocketAddress(InetAddress.getLoopbackAddress(), Integer.parseInt(args[1]));
		DTLSConnector connector = new DTLSConnector(config(args, server, bridge));
		connector.setRawDataReceiver(data -> {
			if (server) {
				connector.send(RawData.outbound(data.getBytes(), data.getEndpointContext(), null, false));
			} else {
				System.out.print(new String(data.getBytes(), StandardCharsets.UTF_8));
				System.out.flush();
			}
		});
		connector.start();
		if (server) {
			Thread.currentThread().join();
		}
		// The name is for SNI, and what the server's certificate must hold.
		EndpointContext to = new AddressEndpointContext(bridge, args[4].equals("psk") ? null : args[6], null);
		BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
		connector.send(RawData.outbound(new byte[0], to, new Failure(), false)); // an empty message makes it shake hands
		for (String line; (line = lines.readLine()) != null;) {
			connector.send(RawData.outbound((line + "\n").getBytes(StandardCharsets.UTF_8), to, new Failure(), false));
		}
		connector.destroy();
	}

	private static DtlsConnectorConfig config(String[] args, boolean server, InetSocketAddress at) throws Exception {
		DtlsConfig.register();
		List<CipherSuite> suites = new ArrayList<>();
		for (String code : args[2].split(",")) {
			CipherSuite suite = CipherSuite.getTypeByCode(Integer.parseInt(code, 16));
			if (suite == null || !suite.isSupported()) {
				System.err.println("this version lacks suite " + code);
				System.exit(1);
			}
			suites.add(suite);
		}
		DtlsConnectorConfig.Builder config = new DtlsConnectorConfig.Builder(Configuration.createStandardWithoutFile())
				.set(DtlsConfig.DTLS_ROLE, server ? DtlsConfig.DtlsRole.SERVER_ONLY : DtlsConfig.DtlsRole.CLIENT_ONLY)
				.set(DtlsConfig.DTLS_RECOMMENDED_CIPHER_SUITES_ONLY, false)
				.set(DtlsConfig.DTLS_CIPHER_SUITES, suites)
				.set(DtlsConfig.DTLS_EXTENDED_MASTER_SECRET_MODE, ExtendedMasterSecretMode.REQUIRED)
				.set(DtlsConfig.DTLS_USE_SERVER_NAME_INDICATION, !server)
				.set(DtlsConfig.DTLS_RECEIVER_THREAD_COUNT, 1)
				.set(DtlsConfig.DTLS_CONNECTOR_THREAD_COUNT, 1);
		if (server) {
			config.setAddress(at);
		} else {
			config.setAddress(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
		}
		int cid = Integer.parseInt(args[3]);
		if (cid > 0) {
			config.set(DtlsConfig.DTLS_CONNECTION_ID_LENGTH, cid);
		}
		if (args[4].equals("psk")) {
			return config.setAdvancedPskStore(new AdvancedSinglePskStore(args[5], args[6].getBytes(StandardCharsets.UTF_8))).build();
		}
		String own = server ? "server" : "client";
		return config
				.setCertificateIdentityProvider(new SingleCertificateProvider(key(args[5], own), new Certificate[] {certificate(args[5], own)},
						CertificateType.X_509))
				.setAdvancedCertificateVerifier(StaticNewAdvancedCertificateVerifier.builder().setTrustedCertificates(certificate(args[5], "ca"))
						.build())
				.build();
	}

	private static Certificate certificate(String directory, String name) throws Exception {
		try (FileInputStream in = new FileInputStream(Path.of(directory, name + ".crt").toFile())) {
			return CertificateFactory.getInstance("X.509").generateCertificate(in);
		}
	}

	private static PrivateKey key(String directory, String name) throws Exception {
		String pem = Files.readString(Path.of(directory, name + ".key")).replaceAll("-----[A-Z ]+-----", "");
		return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getMimeDecoder().decode(pem)));
	}

	/** Ends the program when something can't be sent, for then there was no handshake. */
	private static final class Failure implements MessageCallback {
		@Override
		public void onError(Throwable error) {
			System.err.println(error);
			System.exit(1);
		}

		@Override
		public void onConnecting() {}

		@Override
		public void onDtlsRetransmission(int flight) {}

		@Override
		public void onContextEstablished(EndpointContext context) {}

		@Override
		public void onSent() {}
	}
}
