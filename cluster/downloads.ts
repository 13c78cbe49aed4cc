import type { PublicConfig } from "../config/schema";
import { localWcsPackage } from "../config/wcs-package";
import type { Package } from "../userdata/user-data";

/** A file on this computer, an object that is already in S3, or a download. */
export type PackageSource = { file: string } | Package;

/** The sources of the packages that machines fetch, besides this project's own software. */
export interface PackageSources {
  /** The WCS tarball that nodes install. @default none: the nodes' image has WCS in it */
  wcsPackage?: PackageSource;
  /** The WebSDK bundle that the balancer serves. @default the pages of the pinned npm package */
  webSdk?: Package;
}

/** The sources of packages that the configuration names. */
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
