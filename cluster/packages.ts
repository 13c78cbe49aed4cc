import type { PublicConfig } from "../config/schema";
import { localWcsPackage } from "../config/wcs-package";
import type { Package } from "../userdata/user-data";

/** A file of this computer, an object that is in S3 already, or a download. */
export type PackageSource = { file: string } | Package;

/** Where the packages come from that machines fetch besides their software. */
export interface PackageSources {
  /** The WCS tarball that nodes install. @default none: their image has WCS in it */
  wcsPackage?: PackageSource;
  /** The WebSDK bundle that the balancer serves. @default the pages of the pinned npm package */
  webSdk?: Package;
}

/** What the configuration says of the packages that machines fetch. */
export function packageSources(config: PublicConfig): PackageSources {
  const { wcsPackage, wcsPackageUrl, wcsPackageSha256, webSdkUrl, webSdkSha256 } = config;
  const file = localWcsPackage(config);
  const wcs = wcsPackage ?? wcsPackageUrl;
  return {
    wcsPackage: file
      ? { file }
      : wcs && wcsPackageSha256
        ? { source: wcs, sha256: wcsPackageSha256 }
        : undefined,
    webSdk: webSdkUrl && webSdkSha256 ? { source: webSdkUrl, sha256: webSdkSha256 } : undefined,
  };
}
